"""Looking at a running comparison without paying for it in false alarms.

Whoever tests after every pair and stops at the first "slower" raises far more false alarms than each test's level says.
Here one may look after certain numbers of pairs only, and each look spends a part of the whole error rate α:

    Σ_k α_k ≤ α        so that        P(any look errs) ≤ Σ_k P(look k errs) ≤ α        (Bonferroni 1936)

whatever the looks have to do with each other. The first look comes when signed ranks can speak at all at its level
(`intervals.enough`: after 7 pairs; with one more, a pair that the machine spoilt may be missing) and spends most of α,
as at the usual noise it decides nearly everything. Number, places and shares of the looks are those with the
fewest pairs until a decision, averaged over comparisons with itself and with 3 % more at spreads of 1, 1.5 and 2 %
(docs/clock.md).

Before that nothing is said, with one exception. Two builds of which one takes thirty times as long need no eight pairs,
and theirs are the dear ones. So from `EARLY` pairs on a change is one if every pair lies beyond a factor of two,
`GROSS`, on the same side. Noise of whatever law with mean 0 and standard deviation σ takes one pair there with
probability σ²/(σ² + log² 2) at most (Cantelli 1928), so all three with 1e-5 at σ = 10 %, twice what pairs whose calls
took turns were seen to vary by, if pairs are independent of each other. That is a thousandth of α, and the first
look's share is smaller by so much.

Who ends a comparison after fewer pairs has the shares of all later looks for the last one (`schedule`). Who goes on
after all has spent them twice, except after 8 pairs, where ranks are so coarse that both shares have the same bound.
"""

from __future__ import annotations

import math

SPENDING: dict[int, float] = {8: 0.799, 14: 0.1, 19: 0.05, 27: 0.05}
"""Pairs after which one may look, and the share of α that this look spends."""

LOOKS: tuple[int, ...] = tuple(SPENDING)

EARLY = 3
"""Pairs from which on a gross change may be called one."""

EARLY_SPENDING = 0.001
"""The share of α for that."""

GROSS = math.log(2)
"""The size of a gross change, as a log-ratio."""


def schedule(most: int) -> dict[int, float]:
    """The looks of a comparison that ends after `most` pairs, up to the last of `LOOKS`, with their shares of α."""
    before = {look: share for look, share in SPENDING.items() if look < most}
    return {**before, most: 1 - EARLY_SPENDING - sum(before.values())}


def level(pairs: int, alpha: float, most: int = LOOKS[-1]) -> float:
    """The error rate of each one-sided statement at the look after `pairs` pairs, of `alpha` over all looks.

    The comparison ends after `most`. Between two looks, where somebody ended it, the level is that of the look it was
    on its way to; after the last one, that of the last.
    """
    shares = schedule(most)
    return alpha * next((share for look, share in shares.items() if pairs <= look), shares[most])
