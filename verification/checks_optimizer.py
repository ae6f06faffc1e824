"""Obligations of training itself: Adam's step, the moving average, the checkpoint, and what a step must not touch.

    w <- w - rate m^ / (sqrt(v^) + epsilon)        Kingma and Ba 2015, Algorithm 1, which Ho et al. 2020 train with
    a <- decay a + (1 - decay) w                   Ho et al. 2020, appendix B

All are judged on four steps from the network's initial weights; see `training_trial`. A framework that compiles takes
longer to compile its training step than to do everything else that is asked of it in the quick tier, so these belong
to the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise

import numpy as np

from verification.adam_enclosure import ORDERS, Enclosure, enclosure
from verification.check import Evidence, check
from verification.network_trial import network_dtype
from verification.protocol import Array, Subject
from verification.tolerance import compare, exactly, gamma, holds, unit_roundoff
from verification.training_trial import DECAYS, NEEDS, RATE, STEPS, after_training, before_training, run_of, truth_of

SAVE_AFTER = STEPS // 2


@check(
    "OPT-1",
    claim="Adam's first step moves each weight by the learning rate against its gradient's sign, and none without one.",
    source="Kingma and Ba 2015, Algorithm 1: at the first step m^ / sqrt(v^) is the gradient's sign",
    needs=NEEDS,
    level=5,
    kills=("O01", "O03", "O04", "O05", "O06"),
    tolerance="T3: rate |g| / (|g| + epsilon), within the rounding of g, 1 - beta and the weight. T0 where g is 0.",
)
def first_step(subject: Subject) -> Iterator[Evidence]:
    """OPT-1, for every parameter; at first most gradients are 0, and those weights must stay as they are."""
    yield from _best_order(subject, (1,))


@check(
    "OPT-1.recursion",
    claim="Adam's later steps weigh the gradients so far by 0.9 and their squares by 0.999, corrected for the start.",
    source="Kingma and Ba 2015, Algorithm 1",
    needs=NEEDS,
    level=5,
    kills=("O02", "O04", "O07", "O08", "O09"),
    tolerance="T2, T3: an interval around each step, from the rounding of every gradient so far; see adam_enclosure.",
)
def later_steps(subject: Subject) -> Iterator[Evidence]:
    """OPT-1, steps 2 to 4, each from the weights that the subject had come to."""
    yield from _best_order(subject, range(2, STEPS + 1))


def _best_order(subject: Subject, steps: Iterable[int]) -> list[Evidence]:
    """Evidence of these steps by whichever order of Adam they follow better, one for them all."""
    found = [[each for n in steps for each in _step_evidence(subject, n, order)] for order in ORDERS]
    return min(found, key=lambda evidence: max(each.ratio for each in evidence))


def _step_evidence(subject: Subject, n: int, order: str) -> Iterator[Evidence]:
    before, after, u = _weights(subject, n - 1), _weights(subject, n), unit_roundoff(network_dtype(subject))
    truths = [truth_of(subject, step) for step in range(n)]
    for name, weight in before.items():
        gradients, bounds = [truth.exact[name] for truth in truths], [truth.bound(name) for truth in truths]
        step = enclosure(gradients, bounds, u, order=order)
        of_weight = np.where(step.reach > 0, u * (np.abs(weight.astype(float)) + 2 * RATE), 0.0)
        moved = np.subtract(after[name], weight, dtype=float) if name in after else None
        yield compare(
            moved,
            -RATE * step.due,
            RATE * step.reach + of_weight,
            where=f"{name} in step {n}",
            reason=f"Adam's step by {order}, from the exact gradients at the weights so far",
            diagnosis=partial(_other_rule, moved, step, gradients[-1]) if n == 1 else "",
        )


def _weights(subject: Subject, steps: int) -> Mapping[str, Array]:
    return run_of(subject, steps).weights


def _other_rule(moved: Array | None, step: Enclosure, gradient: Array) -> str:
    """Which other first step a parameter has taken, where its gradient is sure enough to tell."""
    sure = (np.abs(step.due) > 0.5) & (step.reach < 0.01)
    if moved is None or not sure.any():
        return ""
    seen, sign = moved[sure] / RATE, np.sign(gradient[sure])
    known = {
        "the sign is flipped: the loss is climbed": sign,
        "plain gradient descent: the step is the learning rate times the gradient": -gradient[sure],
        "neither moment is corrected for its start at 0": -sign * 0.1 / 0.001**0.5,
        "the first moment is not corrected for its start at 0": -sign * 0.1,
        "the second moment is not corrected for its start at 0": -sign / 0.001**0.5,
        "the weights do not move": 0 * sign,
    }
    return next((text for text, other in known.items() if np.allclose(seen, other, rtol=0.03, atol=1e-3)), "")


@check(
    "LOS-1.training",
    claim="The loss that training reports of each step is L_simple at the weights before it.",
    source="Ho et al. 2020, Algorithm 1, line 5, and Eq. 14",
    needs=NEEDS,
    level=5,
    kills=("O10",),
    tolerance="T2 and T4: the rounding of x_t, network and mean of squares, each imitated in float64.",
)
def reported_losses(subject: Subject) -> Iterator[Evidence]:
    """The losses of the whole run, each against the judge's own network at the weights of a shorter one."""
    losses = run_of(subject).losses
    yield holds(losses.shape == (STEPS,), where="losses", reason=f"shape {losses.shape}, one number for each step")
    for step, seen in enumerate(losses.reshape(-1)[:STEPS]):
        due, bound = truth_of(subject, step).score
        yield compare(seen, due, bound, where=f"step {step + 1}", reason="L_simple of the batch at the weights before")


@check(
    "OPT-2",
    claim="A run that is saved, loaded by a new trainer and continued is the uninterrupted run, bit for bit.",
    source="definition of a checkpoint: it holds all that the next step depends on",
    needs=NEEDS,
    level=5,
    kills=("O11", "O12", "O13", "O14"),
    tolerance="T0: the same computation",
)
def resumed_run(subject: Subject) -> Iterator[Evidence]:
    """OPT-2: weights, average and losses after two steps, a checkpoint, and two steps more; and the first two alone."""
    whole, resumed, head = run_of(subject), run_of(subject, save_after=SAVE_AFTER), run_of(subject, SAVE_AFTER)
    for group in ("weights", "average"):
        ours, theirs = getattr(whole, group), getattr(resumed, group)
        yield _same_names(theirs, ours, group)
        for name, array in ours.items():
            reason = "equal bits, with and without the checkpoint"
            yield exactly(theirs.get(name), array, where=f"{group} of {name}", reason=reason)
    yield exactly(resumed.losses, whole.losses, where="losses", labels=("step",), reason="as without the checkpoint")
    reason = "a shorter run is the beginning of a longer one"
    yield exactly(head.losses, whole.losses[:SAVE_AFTER], where="losses", labels=("step",), reason=reason)


@check(
    "GRD-3",
    claim="Training moves the parameters of the network and nothing else: no table, no other network, no input.",
    source="Ho et al. 2020, Algorithm 1: the gradient is by theta alone; t, the noise and the tables are given",
    needs=(*NEEDS, "tables"),
    level=5,
    kills=("O15", "O16", "O17", "O23"),
    tolerance="T0: what is not trained keeps its bits",
)
def nothing_else_learns(subject: Subject) -> Iterator[Evidence]:
    """GRD-3: the names that are trained, where they start, and what is as it was before; inputs are guarded."""
    start, weights = run_of(subject, 0), subject.weights()
    for group in ("weights", "average"):
        yield _same_names(getattr(start, group), weights, f"{group} at the start")
        yield _same_names(getattr(run_of(subject), group), weights, f"{group} at the end")
    first = subject.initial_weights() if getattr(subject, "initial_weights", None) is not None else start.weights  # type: ignore[attr-defined]  # optional, and in no protocol
    for name, array in first.items():
        yield exactly(start.weights.get(name), array, where=f"{name} at the start", reason="the initial weights")
        yield exactly(start.average.get(name), array, where=f"average of {name} at the start", reason="the weights")
    yield from _untouched(before_training(subject), after_training(subject))


def _untouched(before: Mapping[str, Array], after: Mapping[str, Array]) -> Iterator[Evidence]:
    for name, array in before.items():
        yield exactly(after.get(name), array, where=name, reason="as it was before training")


def _same_names(seen: Mapping[str, Array], due: Mapping[str, Array], where: str) -> Evidence:
    other = sorted(seen.keys() ^ due.keys())
    more = f"{where}: {', '.join(other[:3])}" if other else where
    return holds(not other, where=more, reason="exactly the network's parameters")


Rule = Callable[[int, float], float]

RULES: Mapping[str, Rule] = {
    "one decay from the first update on": lambda n, decay: decay,  # noqa: ARG005 - a constant
    "min(decay, (1 + n) / (10 + n)) at update n": lambda n, decay: min(decay, (1 + n) / (10 + n)),
}
"""The decay at the n-th update (1, 2, ...): that of Ho et al. 2020, and TensorFlow's with `num_updates`."""

WRONG_RULES: Mapping[str, Rule] = {
    "updates are counted from 0 in the warm-up": lambda n, decay: min(decay, n / (9 + n)),
    "updates are counted from 2 in the warm-up": lambda n, decay: min(decay, (2 + n) / (11 + n)),
    "the warm-up is not capped by the decay": lambda n, _: (1 + n) / (10 + n),
    "decay and 1 - decay are swapped": lambda _, decay: 1 - decay,
    "decay and 1 - decay are swapped in the warm-up": lambda n, decay: 1 - min(decay, (1 + n) / (10 + n)),
    "the average does not move": lambda *_: 1.0,
    "the average is the weights themselves": lambda *_: 0.0,
}


@check(
    "EMA-1.warm_up",
    claim="Every update of the average has the decay asked for, or that of the warm-up (1 + n) / (10 + n) below it.",
    source="Ho et al. 2020, appendix B; TensorFlow's ExponentialMovingAverage with num_updates",
    needs=NEEDS,
    level=5,
    kills=("O18", "O19"),
    tolerance="T1: four roundings of the old average and of the weight, over how far the two are apart.",
)
def decay_of_each_update(subject: Subject) -> Iterator[Evidence]:
    """EMA-1 in training: the decay of each update, by least squares over all weights; one rule for them all."""
    rule = _rule(subject)
    for decay, updates in ((DECAYS[0], STEPS), (DECAYS[1], 2)):  # the second is reached by the second update
        runs = [run_of(subject, n, decay=decay) for n in range(updates + 1)]
        for n, (old, new) in enumerate(pairwise(runs), start=1):
            seen, bound = _decay(old.average, new.average, new.weights, unit_roundoff(network_dtype(subject)))
            yield compare(
                seen,
                RULES[rule](n, decay),
                bound,
                where=f"decay {decay:g}, update {n}",
                reason=rule,
                diagnosis=partial(_wrong_rule, seen, bound, n, decay),
            )


def _decay(
    old: Mapping[str, Array], new: Mapping[str, Array], weights: Mapping[str, Array], u: float
) -> tuple[float, float]:
    """The d of a' = d a + (1 - d) w by least squares, and how far rounding may lead. NaN where nothing moved."""
    names = sorted(old.keys() & new.keys() & weights.keys())
    a, after, w = (_flat(arrays, names) for arrays in (old, new, weights))
    apart, size = a - w, 4 * u * (np.abs(a) + np.abs(w))
    scale = float(np.sum(apart**2))
    if not scale > 0:
        return float("nan"), 0.0
    return float(np.sum((after - w) * apart)) / scale, float(np.sum(size * np.abs(apart))) / scale


def _flat(arrays: Mapping[str, Array], names: Iterable[str]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(arrays[name]).astype(float) for name in names)])


def _rule(subject: Subject) -> str:
    """The rule that the first update follows best at the largest decay, where the rules are farthest apart."""
    start, first = (run_of(subject, n) for n in (0, 1))
    seen, _ = _decay(start.average, first.average, first.weights, 0.0)
    return min(RULES, key=lambda name: np.nan_to_num(abs(RULES[name](1, DECAYS[0]) - seen), nan=np.inf))


def _wrong_rule(seen: float, bound: float, n: int, decay: float) -> str:
    return next((text for text, rule in WRONG_RULES.items() if abs(rule(n, decay) - seen) <= bound), "")


@check(
    "EMA-2",
    claim="The average follows its closed form over the weights of the run, and the run does not know of it.",
    source="Ho et al. 2020, appendix B: samples are drawn from the average, training goes on from the weights",
    needs=NEEDS,
    level=5,
    kills=("O18", "O20", "O21", "O22"),
    tolerance="T2: four roundings an update, relative to the largest weight met. T0 for weights, and for decay 0.",
)
def average_follows(subject: Subject) -> Iterator[Evidence]:
    """EMA-2, with three decays: each weight's average, and weights and losses that are the same for each."""
    rule, way = RULES[_rule(subject)], [run_of(subject, n).weights for n in range(STEPS + 1)]
    for decay in DECAYS:
        run = run_of(subject, decay=decay)
        for group in ("weights", "average"):
            yield _same_names(getattr(run, group), way[0], f"decay {decay:g}, {group}")
        for name in sorted(run.average.keys() & set.intersection(*(set(weights) for weights in way))):
            where = f"decay {decay:g}, weights of {name}"
            yield exactly(run.weights.get(name), way[-1][name], where=where, reason="the same whatever is averaged")
            yield _followed(subject, run.average[name], [weights[name] for weights in way], rule, decay, name)
        yield exactly(run.losses, run_of(subject).losses, where=f"decay {decay:g}, losses", reason="the same")


def _followed(subject: Subject, seen: Array, way: list[Array], rule: Rule, decay: float, name: str) -> Evidence:
    where = f"decay {decay:g}, average of {name}"
    if decay == 0:
        return exactly(seen, way[-1], where=where, reason="with decay 0 the average is the weight")
    average = way[0].astype(float)
    for n, weight in enumerate(way[1:], start=1):
        average = rule(n, decay) * average + (1 - rule(n, decay)) * weight.astype(float)
    largest = np.max(np.abs(way), axis=0).astype(float)
    bound = 2 * gamma(4 * STEPS, unit_roundoff(network_dtype(subject))) * largest
    return compare(seen, average, bound, where=where, reason="the closed form over W_0 ... W_4")
