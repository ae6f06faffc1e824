"""Random checks that say beforehand how often they are wrong, in both directions.

A statistical check can fail on right code, by chance, and pass on wrong code, by chance. Both chances are fixed before
a number is drawn:

* false alarms. A run may spend `false_alarms` of its profile (`randomness.PROFILES`: 1e-6 in the gate) over all
  statistical checks and all subjects it judges. `LEDGER` divides that among the checks by weight, a check divides its
  part among its questions (`Account.spend`), and a question among its comparisons. Chances add up at most (Bonferroni),
  whether or not the questions share their random numbers. There are no retries: a second look would spend again.
* misses. A `Design` names the smallest mistake it answers for, the `effect`, and its n is large enough to miss that
  with probability at most `BETA`. This is arithmetic, not luck, so it is evidence of its own (`Design.sound`) and comes
  first: a check whose sample is too small fails, however good the sample looks.

Critical values are exact where the law is Gaussian, and else rigorous bounds for any n:

| Design | Statistic | False alarm |
|---|---|---|
| `mean_design` | mean of n standard normal numbers | exact: normal |
| `variance_design` | mean square of n of them | exact: chi-squared of n degrees |
| `correlation_design` | <x, y> / (|x| sqrt(n)), y standard normal | exact: normal given x, whatever x is |
| `cdf_design` | largest gap between empirical and exact CDF | Dvoretzky, Kiefer, Wolfowitz; Massart 1990 |
| `count_design` | how often one of equal outcomes came, over what is expected | exact: binomial |
| `counts_design` | Pearson's chi-squared of all outcomes | chi-squared; see there for how far that holds |
| `squares_design` | weighted sum of noncentral squares | Laurent and Massart 2000, Lemma 1; Birgé 2001, Lemma 8.1 |

Every statistic is a deviation that right code has around 0, in units that mean something, and is reported with its
critical value: their ratio is that of any other evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import ndtri

from verification.check import Evidence
from verification.oracle_gaussian import Array, Integers
from verification.protocol import VerificationError
from verification.randomness import current
from verification.tolerance import Where, compare, holds

BETA = 1e-6
"""How often a mistake of the stated size may be missed."""

SUBJECTS = 6
"""How many subjects a run pays for: this project's gate judges three choices in two modes."""

LEDGER = {
    "FWD-5": 2,
    "SMP-4": 4,
    "SMP-8": 1,
    "SMP-9": 1,
    "RNG-1": 3,
    "TRN-2": 2,
    "GRD-4": 1,
    "FID-1": 1,
    "FID-2": 2,
    "FID-3": 2,
    "FID-4": 1,
}
"""The statistical checks, with their weights: more for those that ask more questions."""

EXPECTED_COUNT = 100
"""What `counts_design` wants of each outcome."""


def allowance(check: str) -> float:
    """The false alarms that `check` may spend on one subject in the current run.

    Raises `VerificationError` if it is not in the ledger.
    """
    if check not in LEDGER:
        raise VerificationError(f"{check} is not in the ledger of random checks: give it a weight in LEDGER")
    return current().profile.false_alarms / SUBJECTS * LEDGER[check] / sum(LEDGER.values())


class Account:
    """What one check on one subject has left of its `alpha`."""

    def __init__(self, check: str) -> None:
        self.check = check
        self.alpha = allowance(check)
        self._left = 1.0

    def spend(self, share: float, *, comparisons: int = 1) -> float:
        """The alpha of each of `comparisons` that together have this `share` of the account.

        Raises `VerificationError` when more than the whole is spent: the check is badly designed.
        """
        if not 0 < share <= self._left + 1e-9:
            raise VerificationError(f"{self.check} spends {share:g} of its alpha, but {self._left:g} are left")
        self._left -= share
        return self.alpha * share / comparisons


@dataclass(frozen=True)
class Design:
    """A statistical question as it stands before anything is drawn.

    `statistic`: what is compared with 0. `effect`: the smallest mistake that it answers for. `n`: the sample, `n_min`
    what it takes. `alpha`: false alarms a comparison, on both sides together; `miss`: how often the effect is missed at
    n. Right code stays between -`low` and `high`.
    """

    statistic: str
    effect: str
    n: int
    n_min: int
    alpha: float
    miss: float
    low: float
    high: float

    @property
    def stated(self) -> str:
        """The design in a line, for a finding."""
        return (
            f"{self.statistic}: alpha {self.alpha:.2g}, n = {self.n}, power 1 - {max(self.miss, 1e-300):.2g} "
            f"against {self.effect}"
        )

    def sound(self) -> Evidence:
        """Evidence, free of any sample, that n is large enough."""
        enough = self.n >= self.n_min and self.miss <= BETA
        return holds(
            enough,
            where="design",
            reason=f"{self.stated}; n must be at least {self.n_min} to miss it once in {1 / BETA:.0e} runs",
            diagnosis="the sample is too small for what the check promises to notice",
        )

    def judge(
        self,
        deviations: Array | float,
        *,
        slack: Array | float = 0.0,
        where: Where = "",
        labels: tuple[str, ...] = (),
        diagnosis: str | Callable[[], str] = "",
    ) -> Evidence:
        """Evidence about one deviation, or an array of as many as alpha was divided among.

        `slack`: what rounding may add, an absolute bound.
        """
        seen = np.asarray(deviations, dtype=np.float64)
        allowed = np.where(seen > 0, self.high, self.low) + slack
        return compare(
            seen, np.zeros(seen.shape), allowed, where=where, labels=labels, reason=self.stated, diagnosis=diagnosis
        )


def quantile(alpha: float) -> float:
    """The z with P(|Z| > z) = alpha for a standard normal Z."""
    return float(-ndtri(alpha / 2))


def mean_design(n: int, *, shift: float, alpha: float) -> Design:
    """For the mean of n independent standard normal numbers."""
    z = quantile(alpha)
    return Design(
        "mean",
        f"a mean off by {shift:g} standard deviations",
        n,
        math.ceil(((z + ndtri(1 - BETA)) / shift) ** 2),
        alpha,
        float(stats.norm.sf(math.sqrt(n) * shift - z)),
        z / math.sqrt(n),
        z / math.sqrt(n),
    )


def variance_design(n: int, *, factor: float, alpha: float) -> Design:
    """For the mean square of n independent standard normal numbers, less 1."""

    def limits(size: int) -> tuple[float, float]:
        return float(stats.chi2.ppf(alpha / 2, size)), float(stats.chi2.isf(alpha / 2, size))

    def miss(size: int) -> float:
        low, high = limits(size)
        return float(max(stats.chi2.cdf(high / factor, size), stats.chi2.sf(low * factor, size)))

    low, high = limits(n)
    effect = f"a variance that is {factor:g} times as large or as small"
    return Design("variance - 1", effect, n, smallest(miss), alpha, miss(n), 1 - low / n, high / n - 1)


def correlation_design(n: int, *, rho: float, alpha: float) -> Design:
    """For <x, y> / (|x| sqrt(n)) of n pairs, where y is standard normal and independent of x."""
    z = quantile(alpha)

    def miss(size: int) -> float:
        norm = math.sqrt(stats.chi2.ppf(BETA / 2, size))  # |x| is smaller once in 2 / BETA cases
        return float(BETA / 2 + stats.norm.sf((rho * norm - z) / math.sqrt(1 - rho**2)))

    effect = f"a correlation of {rho:g}"
    return Design("correlation", effect, n, smallest(miss), alpha, miss(n), z / math.sqrt(n), z / math.sqrt(n))


def cdf_design(n: int, *, gap: float, alpha: float) -> Design:
    """For the largest gap between the empirical CDF of n independent numbers and their exact one (`cdf_gap`)."""
    critical = math.sqrt(math.log(2 / alpha) / (2 * n))
    n_min = math.ceil((math.sqrt(math.log(2 / alpha) / 2) + math.sqrt(math.log(1 / BETA) / 2)) ** 2 / gap**2)
    miss = math.exp(-2 * n * (gap - critical) ** 2) if gap > critical else 1.0  # Hoeffding, where the gap is largest
    return Design("gap of the CDF", f"a CDF off by {gap:g} anywhere", n, n_min, alpha, miss, critical, critical)


def count_design(n: int, *, outcomes: int, factor: float, alpha: float) -> Design:
    """For how often one of equally likely `outcomes` came in n draws, over n / outcomes, less 1."""
    share = 1 / outcomes

    def limits(size: int) -> tuple[float, float]:
        law = stats.binom(size, share)
        return float(law.ppf(alpha / 2)), float(law.isf(alpha / 2))

    def miss(size: int) -> float:
        low, high = limits(size)
        rarely = stats.binom.sf(low - 1, size, share / factor)
        often = stats.binom.cdf(high, size, share * factor) if share * factor < 1 else 0.0
        return float(max(rarely, often))

    low, high = limits(n)
    effect = f"an outcome {factor:g} times as likely or as rare"
    expected = n * share
    return Design("count - 1", effect, n, smallest(miss), alpha, miss(n), 1 - low / expected, high / expected - 1)


def counts_design(n: int, *, outcomes: int, effect: float, alpha: float, named: str = "") -> Design:
    """For Pearson's chi-squared of n draws over equally likely `outcomes`, divided by its degrees of freedom, less 1.

    `effect` is the sum of (p - 1/k)^2 k over the outcomes, its square root Cohen's w. The law is chi-squared only as
    counts grow: at an expected count m its variance is larger by 1 / (2 m) and its third cumulant by 11 / (4 m), which
    at m = 100 and six deviations makes the tail 1.3 times as heavy. So m must be at least `EXPECTED_COUNT`, and the
    critical value is that of alpha / 2. Raises `VerificationError` below that.
    """
    if n < EXPECTED_COUNT * outcomes:
        raise VerificationError(
            f"{n} draws over {outcomes} outcomes are too few for a chi-squared law: take {EXPECTED_COUNT * outcomes}"
        )
    freedom = outcomes - 1
    critical = float(stats.chi2.isf(alpha / 2, freedom))

    def miss(size: int) -> float:
        return float(stats.ncx2.cdf(critical, freedom, size * effect))

    named = named or f"frequencies off by {math.sqrt(effect):.2g} of themselves (root mean square)"
    n_min = max(smallest(miss), EXPECTED_COUNT * outcomes)
    return Design("chi-squared - 1", named, n, n_min, alpha, miss(n), 1.0, critical / freedom - 1)  # never below -1


def squares_design(weights: Array, noncentrality: Array, *, factor: float, alpha: float) -> Design:
    """For sum a_i (Z_i + b_i)^2 over its expectation, less 1: `weights` a and `noncentrality` b^2, one array each.

    P(S - ES >= 2 sqrt(v x) + 2 max(a) x) and P(S - ES <= -2 sqrt(v x)) are at most exp(-x), v = sum a^2 (1 + 2 b^2).
    """
    x, n = math.log(2 / alpha), weights.size
    expected = float(np.sum(weights * (1 + noncentrality)))
    spread = float(np.sum(weights**2 * (1 + 2 * noncentrality))) / expected**2 * n  # as if n were 1
    largest = float(weights.max()) / expected * n

    def limits(size: int) -> tuple[float, float]:
        low = 2 * math.sqrt(spread * x / size)
        return low, low + 2 * largest * x / size

    def miss(size: int) -> float:
        low, high = limits(size)
        below = 1 - (1 + high) / factor  # how far under its expectation a sum that is too large must fall
        above = (1 - low) * factor - 1
        if below <= 0 or above <= 0:
            return 1.0
        root = math.sqrt(spread / size)  # the upper tail's x solves 2 root sqrt(x) + 2 largest / size x = above
        tail = (math.sqrt(root**2 + 2 * largest / size * above) - root) / (2 * largest / size)
        return math.exp(-min(below**2 / (4 * root**2), tail**2))

    low, high = limits(n)
    effect = f"a sum that is {factor:g} times as large or as small"
    return Design("sum of squares - 1", effect, n, smallest(miss), alpha, miss(n), low, high)


def smallest(miss: Callable[[int], float], *, largest: int = 2**40) -> int:
    """The smallest n at which `miss`, which falls with n, is at most `BETA`; `largest` if none is."""
    high = 1
    while miss(high) > BETA:
        high *= 2
        if high >= largest:
            return largest
    low = high // 2
    while high - low > max(1, high // 1000):  # to a thousandth: it is an advice, n itself is judged by its own miss
        middle = (low + high) // 2
        low, high = (low, middle) if miss(middle) <= BETA else (middle, high)
    return high


def cdf_gap(values: Array) -> float:
    """The largest gap between the empirical CDF of n draws and the exact one, whose `values` at the draws are given."""
    ordered = np.sort(np.ravel(values))
    steps = np.arange(ordered.size + 1) / ordered.size
    return float(max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])))


def pearson(counts: Array | Integers) -> float:
    """Pearson's chi-squared of `counts` of equally likely outcomes, over its degrees of freedom, less 1."""
    expected = counts.sum() / counts.size
    return float(np.sum((counts - expected) ** 2) / expected / (counts.size - 1) - 1)


def correlation(x: Array, y: Array) -> float:
    """<x, y> / (|x| sqrt(n)) over all entries, where `y` is what should be standard normal and independent of `x`.

    Infinite where `x` is 0 throughout.
    """
    norm = float(np.linalg.norm(x))
    return float(np.vdot(x, y)) / (norm * math.sqrt(x.size)) if norm > 0 else math.inf
