"""Looking at a running comparison without paying for it in false alarms.

Whoever tests after every pair and stops at the first "slower" raises far more false alarms than each test's level says.
Here one may look after certain numbers of pairs only, and each look spends a part of the whole error rate α:

    Σ_k α_k ≤ α        so that        P(any look errs) ≤ Σ_k P(look k errs) ≤ α        (Bonferroni 1936)

whatever the looks have to do with each other. The parts are not equal: most of α goes to the early looks, which decide
nearly all comparisons at the usual noise. With a pair's log-ratio spread by 1 % a comparison with itself or with a
slowdown of 3 % is decided after 6 pairs on average, with 1.5 % after 8, with 2 % after 11; 5, 10 and 19 pairs would be
needed if nobody looked and the spread were known before (`tests/test_benchmarks_looks.py` makes these figures).
"""

from __future__ import annotations

SPENDING: dict[int, float] = {5: 0.3, 8: 0.3, 12: 0.2, 18: 0.1, 27: 0.1}
"""Pairs after which one may look, and the share of α that this look spends."""

LOOKS: tuple[int, ...] = tuple(SPENDING)


def level(pairs: int, alpha: float) -> float:
    """The error rate of each one-sided statement at the look after `pairs` pairs, of `alpha` over all looks.

    Between two looks, where somebody ended the comparison, the level is that of the look it was on its way to; after
    the last one, that of the last.
    """
    return alpha * next((share for look, share in SPENDING.items() if pairs <= look), SPENDING[LOOKS[-1]])
