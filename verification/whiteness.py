"""Are the rows of an array independent standard normal vectors? Six questions, each with its own power.

| Question | Statistic | What goes wrong |
|---|---|---|
| mean of each column | z | an offset; one noise for the whole batch |
| variance over all | chi-squared | a factor: sigma, beta for sqrt(beta) |
| variance of each column | chi-squared | one pixel without noise |
| correlation of each two columns | z, exact | one noise for several pixels |
| distribution of all numbers | DKW | another law of the same variance: uniform noise |
| distribution of each row's squared length | DKW with chi-squared | one noise in a whole row, clipped rows |

Columns are what differs within an image, rows are images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.special import gammainc, ndtr

from verification.check import Evidence
from verification.oracle_gaussian import Array
from verification.significance import (
    Account,
    Design,
    cdf_design,
    cdf_gap,
    correlation_design,
    mean_design,
    variance_design,
)


def white_evidence(
    sample: Array, account: Account, share: float, *, where: str, rounding: float = 0.0, diagnosis: str = ""
) -> Iterator[Evidence]:
    """Evidence about `sample`, (n, d) with n of 16384 and d about 12, that spends the `share` of the `account`.

    `rounding`: a bound on the root mean square error of a number, in its standard deviations. Errors are proportional
    to normal numbers, so one is at most six times that but once in 5e8.
    """
    n, d = sample.shape
    part, pairs = share / 6, d * (d - 1) // 2
    mean = mean_design(n, shift=0.1, alpha=account.spend(part, comparisons=d))
    overall = variance_design(n * d, factor=1.04, alpha=account.spend(part))
    each = variance_design(n, factor=1.16, alpha=account.spend(part, comparisons=d))
    between = correlation_design(n, rho=0.11, alpha=account.spend(part, comparisons=pairs))
    law = cdf_design(n * d, gap=0.015, alpha=account.spend(part))
    length = cdf_design(n, gap=0.055, alpha=account.spend(part))
    for design in (mean, overall, each, between, law, length):
        yield design.sound()
    of_square = rounding * (2 + rounding)
    judge = partial(Design.judge, diagnosis=diagnosis)
    yield judge(mean, sample.mean(axis=0), slack=rounding, where=f"{where}, mean", labels=("column",))
    squares = np.square(sample)
    yield judge(overall, squares.mean() - 1, slack=of_square, where=f"{where}, variance")
    yield judge(each, squares.mean(axis=0) - 1, slack=of_square, where=f"{where}, variance", labels=("column",))
    yield judge(between, column_correlations(sample), slack=of_square, where=f"{where}, correlation", labels=("pair",))
    # The normal CDF rises by at most 0.4 a unit, so 6 of the errors are worth 2.4; that of a squared length |x|^2 by at
    # most 0.09, and |x|^2 moves by 2 |x| |e|, where |x| and |e| are sqrt(d) units and errors: 2.2, four of which.
    yield judge(law, cdf_gap(ndtr(sample)), slack=2.4 * rounding, where=f"{where}, distribution")
    lengths = gammainc(d / 2, squares.sum(axis=1) / 2)
    yield judge(length, cdf_gap(lengths), slack=10 * rounding, where=f"{where}, squared length of rows")


def column_correlations(sample: Array) -> Array:
    """The correlation of each two columns as `correlation_design` wants it, (d (d - 1) / 2,)."""
    products = sample.T @ sample
    first, second = np.triu_indices(sample.shape[1], 1)
    norms = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(products[first, second] / norms[first] / np.sqrt(len(sample)))
