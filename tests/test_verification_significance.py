"""Designs fail right code as often as they say, and wrong code of the stated effect almost always."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from verification import significance
from verification.check import CHECKS, Evidence, run_checks, select
from verification.oracle_gaussian import Array
from verification.protocol import VerificationError
from verification.randomness import using
from verification.reference import ReferenceSubject
from verification.significance import (
    BETA,
    LEDGER,
    SUBJECTS,
    Account,
    Design,
    allowance,
    cdf_design,
    cdf_gap,
    correlation,
    correlation_design,
    count_design,
    counts_design,
    mean_design,
    pearson,
    smallest,
    squares_design,
    variance_design,
)

OFTEN = 0.05
"""An alpha that can be seen in a simulation."""

REPEATS = 2000

Statistic = Callable[[np.random.Generator, float], float]


def mean(random: np.random.Generator, wrong: float) -> float:
    return float(random.normal(wrong, size=400).mean())


def variance(random: np.random.Generator, wrong: float) -> float:
    return float(np.mean(random.normal(scale=math.sqrt(1 + wrong), size=400) ** 2) - 1)


def related(random: np.random.Generator, wrong: float) -> float:
    """What stands first is anything but normal."""
    x = random.choice([-1.0, 1.0], 400) * random.exponential(size=400)
    unit = x / np.sqrt(np.mean(x**2))
    return correlation(x, wrong * unit + math.sqrt(1 - wrong**2) * random.normal(size=400))


def gap(random: np.random.Generator, wrong: float) -> float:
    """Uniform numbers, of which a share is replaced by 1, where the CDF is then that share below."""
    values = random.random(400)
    return cdf_gap(np.where(random.random(400) < wrong, 1.0, values))


def count(random: np.random.Generator, wrong: float) -> float:
    return random.binomial(4000, (1 + wrong) / 10) / 400 - 1


def counts(random: np.random.Generator, wrong: float) -> float:
    """Half of ten outcomes more likely, half less: the sum of (p - 1/k)^2 k is wrong^2."""
    return pearson(random.multinomial(4000, (1 + wrong * np.resize([1, -1], 10)) / 10))


NONCENTRAL: Array = np.linspace(0, 3, 400)
WEIGHTS: Array = np.linspace(1, 2, 400) / 400


def squares(random: np.random.Generator, wrong: float) -> float:
    drawn = float(np.sum(WEIGHTS * (random.normal(size=400) + np.sqrt(NONCENTRAL)) ** 2))
    return (1 + wrong) * drawn / float(np.sum(WEIGHTS * (1 + NONCENTRAL))) - 1


CASES: dict[str, tuple[Design, Statistic, bool]] = {
    "mean": (mean_design(400, shift=0.4, alpha=OFTEN), mean, True),
    "variance": (variance_design(400, factor=1.7, alpha=OFTEN), variance, True),
    "correlation": (correlation_design(400, rho=0.4, alpha=OFTEN), related, True),
    "gap": (cdf_design(400, gap=0.3, alpha=OFTEN), gap, False),
    "count": (count_design(4000, outcomes=10, factor=1.5, alpha=OFTEN), count, True),
    "counts": (counts_design(4000, outcomes=10, effect=0.02, alpha=2 * OFTEN), counts, True),
    "squares": (squares_design(WEIGHTS, NONCENTRAL, factor=1.8, alpha=OFTEN), squares, False),
}
"""The design, its statistic, and whether the rate is exact and not only a bound. `counts` spends half of its alpha."""

EFFECTS = {"mean": 0.4, "variance": 0.7, "correlation": 0.4, "gap": 0.3, "count": 0.5, "counts": 0.02**0.5}
EFFECTS["squares"] = 0.8


def alarm(design: Design, deviation: float) -> bool:
    return not design.judge(deviation).passed


@pytest.mark.parametrize("name", CASES)
def test_right_code_fails_as_often_as_stated(name: str) -> None:
    """2000 repeats at 5 %: 100 alarms, and 50 or 150 once in 2e6 seeds. A bound may have fewer."""
    design, statistic, exact = CASES[name]
    random = np.random.default_rng(1)
    alarms = sum(alarm(design, statistic(random, 0.0)) for _ in range(REPEATS))
    assert alarms <= 150
    assert alarms >= (50 if exact else 0)


@pytest.mark.parametrize("name", CASES)
def test_wrong_code_of_the_stated_effect_is_always_caught(name: str) -> None:
    """A miss is promised once in a million."""
    design, statistic, _ = CASES[name]
    assert design.miss <= BETA
    assert design.sound().passed, design.sound().reason
    random = np.random.default_rng(2)
    assert all(alarm(design, statistic(random, EFFECTS[name])) for _ in range(REPEATS))


@pytest.mark.parametrize("name", CASES)
def test_smaller_sample_is_refused_before_anything_is_drawn(name: str) -> None:
    design, _, _ = CASES[name]
    smaller = {
        "mean": lambda n: mean_design(n, shift=0.4, alpha=OFTEN),
        "variance": lambda n: variance_design(n, factor=1.7, alpha=OFTEN),
        "correlation": lambda n: correlation_design(n, rho=0.4, alpha=OFTEN),
        "gap": lambda n: cdf_design(n, gap=0.3, alpha=OFTEN),
        "count": lambda n: count_design(n, outcomes=10, factor=1.5, alpha=OFTEN),
        "counts": lambda n: counts_design(n, outcomes=10, effect=0.02, alpha=2 * OFTEN),
        "squares": lambda n: squares_design(WEIGHTS[:n], NONCENTRAL[:n], factor=1.8, alpha=OFTEN),
    }[name]
    assert smaller(design.n_min).sound().passed or name == "squares"  # whose weights are not alike
    small = smaller(max(1000, design.n_min // 2) if name == "counts" else design.n_min // 2)
    assert not small.sound().passed
    assert "at least" in small.sound().reason


@pytest.mark.parametrize(("n", "alpha"), [(16384, 1e-9), (262144, 1e-11)])
def test_critical_values_hold_far_out_in_the_tails(n: int, alpha: float) -> None:
    """Tails at 1e-11 of a chi-squared law with 262144 degrees, against the incomplete gamma function's own."""
    design = variance_design(n, factor=1.2, alpha=alpha)
    assert stats.chi2.sf(n * (1 + design.high), n) == pytest.approx(alpha / 2, rel=1e-6)
    assert stats.chi2.cdf(n * (1 - design.low), n) == pytest.approx(alpha / 2, rel=1e-6)
    z = mean_design(n, shift=0.1, alpha=alpha).high * math.sqrt(n)
    assert stats.norm.sf(z) == pytest.approx(alpha / 2, rel=1e-9)
    counted = count_design(n, outcomes=10, factor=2, alpha=alpha)
    assert stats.binom.sf(n / 10 * (1 + counted.high), n, 0.1) <= alpha / 2
    assert stats.binom.cdf(n / 10 * (1 - counted.low) - 1, n, 0.1) <= alpha / 2


def test_known_sample_sizes() -> None:
    """At alpha 1e-8 and beta 1e-6: a mean off by 0.1 and 0.01 deviations takes 11 thousand and 1.1 million numbers."""
    assert mean_design(1, shift=0.1, alpha=1e-8).n_min == pytest.approx(11e3, rel=0.02)
    assert mean_design(1, shift=0.01, alpha=1e-8).n_min == pytest.approx(1.1e6, rel=0.02)
    assert variance_design(1, factor=1.1, alpha=1e-7).n_min == pytest.approx(22e3, rel=0.05)
    assert cdf_design(1, gap=0.02, alpha=1e-6).n_min == pytest.approx(70.8e3, rel=0.01)


def test_smallest_is_the_first_that_does_not_miss() -> None:
    assert smallest(lambda n: 0.0 if n >= 600 else 1.0) == 600
    assert smallest(lambda _: 1.0) == 2**40


def test_chi_squared_of_thin_counts_is_refused() -> None:
    with pytest.raises(VerificationError, match="too few"):
        counts_design(99, outcomes=10, effect=0.1, alpha=1e-6)


def test_finding_says_what_was_spent_and_what_for() -> None:
    design = mean_design(16384, shift=0.1, alpha=1e-9)
    for evidence in (design.sound(), design.judge(0.2, where="x")):
        for word in ("alpha 1e-09", "n = 16384", "power 1 - ", "0.1 standard deviations"):
            assert word in evidence.reason
    assert design.judge(0.2).ratio == pytest.approx(0.2 / design.high)


@pytest.mark.parametrize("seen", [math.nan, math.inf])
def test_statistic_that_is_no_number_fails(seen: float) -> None:
    assert not mean_design(100, shift=1.0, alpha=0.01).judge(np.array([0.0, seen])).passed


def test_gap_is_that_of_kolmogorov_and_smirnov() -> None:
    values = np.random.default_rng(0).random(200)
    assert cdf_gap(values) == pytest.approx(stats.kstest(values, "uniform").statistic, abs=1e-12)
    assert pearson(np.array([12, 8, 10])) == pytest.approx(stats.chisquare([12, 8, 10]).statistic / 2 - 1)


def test_correlation_with_nothing_is_an_alarm() -> None:
    assert correlation(np.zeros(5), np.ones(5)) == math.inf


def test_ledger_spends_the_budget_and_no_more() -> None:
    assert sum(map(allowance, LEDGER)) * SUBJECTS == pytest.approx(1e-6)
    with using(1, "nightly"):
        assert sum(map(allowance, LEDGER)) * SUBJECTS == pytest.approx(1e-4)


def test_check_outside_the_ledger_may_spend_nothing() -> None:
    with pytest.raises(VerificationError, match="not in the ledger"):
        Account("FWD-1")


def test_account_cannot_be_overdrawn() -> None:
    account = Account("FWD-5")
    assert account.spend(0.75, comparisons=3) == pytest.approx(account.alpha / 4)
    with pytest.raises(VerificationError, match=r"spends 0\.5 of its alpha, but 0\.25 are left"):
        account.spend(0.5)
    account.spend(0.25)


def test_every_statistical_check_spends_what_it_has_and_designs_come_before_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger's names are those that open an account, each account is used up, and every design is judged sound."""
    accounts: list[Account] = []
    known: set[str] = set()
    judge = Design.judge

    class Watched(Account):
        def __init__(self, check: str) -> None:
            super().__init__(check)
            accounts.append(self)

    def watched(self: Design, *arguments: object, **options: object) -> Evidence:
        assert self.stated in known, "judged before its power was stated"
        return judge(self, *arguments, **options)  # type: ignore[arg-type]  # passed on

    sound = Design.sound

    def noted(self: Design) -> Evidence:
        known.add(self.stated)
        return sound(self)

    monkeypatch.setattr(Design, "judge", watched)
    monkeypatch.setattr(Design, "sound", noted)
    checks = [check for check in select("full") if check.level == 4]
    for module in ("checks_law", "checks_random"):
        monkeypatch.setattr(f"verification.{module}.Account", Watched)
    findings = run_checks(ReferenceSubject(num_timesteps=50), checks)
    assert [finding.status for finding in findings] == ["passed"] * len(checks)
    others = {"FID-1", "FID-2", "FID-3", "FID-4"}  # tests/test_verification_checks_fidelity.py adds up what they spend
    assert sorted(account.check for account in accounts) == sorted(LEDGER.keys() - others)
    for account in accounts:
        with pytest.raises(VerificationError, match="are left"):
            account.spend(0.01)
    assert set(LEDGER) <= set(CHECKS)
    assert significance.SUBJECTS == 6
