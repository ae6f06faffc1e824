"""The figures of docs/clock.md, made again: `python tests/clock_figures.py` prints its tables, seeded.

It takes about two minutes.

`test_clock_figures.py` holds the page against them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import noise
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks import intervals, roofline, steps
from benchmarks.estimate import ALPHA
from benchmarks.layers import NetworkShape, walk
from benchmarks.looks import SPENDING
from benchmarks.work import KINDS, Work
from ddpm_bench.presets import PRESETS

EFFECT = 0.03
LAWS = ("normal", "heavy", "bimodal", "skewed processes", "skewed", "skewed down")
Array = NDArray[np.float64]
Bounds = Callable[[Array, float], tuple[Array, Array]]


def signed_ranks(values: Array, alpha: float) -> tuple[Array, Array]:
    """Bounds of each of (N, n) samples."""
    k = intervals.rank(values.shape[1], alpha)
    averages = np.sort(intervals.walsh(values), axis=1)
    return averages[:, k - 1], averages[:, -k]


def best(values: Array, alpha: float) -> tuple[Array, Array]:
    """Bounds of each of (N, n) samples as `intervals.interval` has them."""
    if values.shape[1] >= intervals.enough(alpha):
        return signed_ranks(values, alpha)
    return student(values, alpha)


def student(values: Array, alpha: float) -> tuple[Array, Array]:
    """Bounds of each of (N, n) samples by Student's t."""
    count, middle = values.shape[1], values.mean(axis=1)
    half = stats.t.ppf(1 - alpha, count - 1) * values.std(axis=1, ddof=1) / math.sqrt(count)
    return middle - half, middle + half


def middles(values: Array, bounds: Bounds) -> Array:
    """What the middle of each of (N, n) samples is, where `bounds` are its bounds."""
    return np.median(intervals.walsh(values), axis=1) if bounds is signed_ranks else values.mean(axis=1)


def one_arm(logs: Array, alpha: float, *, speeds: bool = True) -> tuple[Array, Array]:
    """Bounds of each of (N, n) arms as `intervals.one_arm` has them; without `speeds`, for memory alone."""
    count, mean = logs.shape[1], logs.mean(axis=1)
    inflation, degrees = intervals.remembered(count)
    half = stats.t.ppf(1 - alpha, degrees) * logs.std(axis=1, ddof=1) * math.sqrt(inflation / count)
    half = np.maximum(half, intervals.unmet(count, alpha) if speeds else 0.0)
    return mean - half, mean + half


def between_sessions(old: Array, new: Array, alpha: float, *, memory: bool = True) -> Array:
    """Lower bound of each log-ratio of two (N, n) arms, as `estimate.independent_estimate` has it, or as Welch had."""
    count = old.shape[1]
    inflation, degrees = intervals.remembered(count) if memory else (1.0, count - 1)
    shares = [arm.var(axis=1, ddof=1) * inflation / count for arm in (old, new)]
    variance = shares[0] + shares[1]
    welch = variance**2 / sum(share**2 / degrees for share in shares)
    return np.asarray(new.mean(axis=1) - old.mean(axis=1) - stats.t.ppf(1 - alpha, welch) * np.sqrt(variance))


def decisions(
    law: str,
    spread: float,
    slowdown: float,
    trials: int,
    seed: int,
    spending: Mapping[int, float] = SPENDING,
    bounds: Bounds = signed_ranks,
) -> tuple[list[str], Array]:
    """Label and pairs used of comparisons with looks."""
    values = math.log1p(slowdown) + spread * noise.draw(law, (trials, max(spending)), seed)
    return decided(lambda look, _: values[:, :look], spending, bounds)


def decided(
    pairs: Callable[[int, float], Array], spending: Mapping[int, float], bounds: Bounds
) -> tuple[list[str], Array]:
    """Label and pairs used, where `pairs` gives those of a look, (trials, look), judged at an error rate."""
    trials = len(pairs(min(spending), ALPHA))
    labels = np.full(trials, "inconclusive", dtype="<U12")
    used = np.full(trials, max(spending))
    for look, part in spending.items():
        values = pairs(look, part * ALPHA)
        low, high = bounds(values, part * ALPHA)
        centre, half = middles(values, bounds), math.log1p(EFFECT) / 2
        equivalent = (low > -math.log1p(EFFECT)) & (high < math.log1p(EFFECT))
        slower, faster = (low > 0) & (centre >= half), (high < 0) & (centre <= -half)
        new = np.select([equivalent, slower, faster], ["equivalent", "slower", "faster"], "inconclusive")
        open_ = (labels == "inconclusive") & (new != "inconclusive")
        labels[open_], used[open_] = new[open_], look
    return list(labels), used


def comparisons(trials: int = 20_000) -> Iterable[str]:
    """Error rates and pairs of comparisons with looks."""
    yield "| noise of a pair | its spread | A/A: slower | A/A: equivalent | pairs | +3 %: slower | pairs |"
    yield "|---|---|---|---|---|---|---|"
    for law in LAWS:
        for spread in (0.01, 0.015, 0.02, 0.03):
            (same, used), (slowed, needed) = (
                decisions(law, spread, effect, trials, seed) for seed, effect in enumerate((0.0, EFFECT))
            )
            shares = [same.count("slower"), same.count("equivalent"), slowed.count("slower")]
            alarm, equal, found = (f"{100 * count / trials:.2f} %" for count in shares)
            row = (law, f"{100 * spread:g} %", alarm, equal, f"{used.mean():.1f}", found, f"{needed.mean():.1f}")
            yield f"| {' | '.join(row)} |"


def ordinary_and_fastest(trials: int = 20_000) -> Iterable[str]:
    """The same of pairs that are judged by two ratios, as `estimate.pair_log_ratios` has it."""
    yield (
        "| noise of ordinary and of fastest calls | A/A: slower | A/A: equivalent | all +3 %: equivalent "
        "| ordinary alone +3 %: equivalent | ordinary alone +6 %: equivalent | fastest alone +6 %: slower |"
    )
    yield "|---|---|---|---|---|---|---|"
    slowdowns = ((0.0, 0.0), (EFFECT, EFFECT), (EFFECT, 0.0), (2 * EFFECT, 0.0), (0.0, 2 * EFFECT))
    for law in ("normal", "heavy"):
        for spreads in ((0.01, 0.01), (0.02, 0.02), (0.03, 0.03), (0.05, 0.05), (0.1, 0.1), (0.04, 0.01), (0.01, 0.04)):
            same, slow, *others = (_of_two(law, spreads, each, trials, seed) for seed, each in enumerate(slowdowns))
            counts = (
                same.count("slower"), same.count("equivalent"), slow.count("equivalent"),
                *(one.count("equivalent") for one in others[:2]), others[2].count("slower"),
            )  # fmt: skip
            name = f"{law}, {100 * spreads[0]:g} % and {100 * spreads[1]:g} %"
            yield f"| {' | '.join((name, *(f'{100 * count / trials:.2f} %' for count in counts)))} |"


def _of_two(
    law: str, spreads: tuple[float, float], slowdowns: tuple[float, float], trials: int, seed: int
) -> list[str]:
    """Labels of comparisons whose ordinary and fastest calls have independent noise, and slowdowns of their own."""
    noises = noise.draw(law, (2, trials, max(SPENDING)), seed)
    both = [math.log1p(slow) + each * one for slow, each, one in zip(slowdowns, spreads, noises, strict=True)]

    def judged(look: int, alpha: float) -> Array:
        ordinary, fastest = (each[:, :look] for each in both)
        low, high = signed_ranks(ordinary - fastest, alpha)
        alone = ((low > 0) | (high < 0))[:, None]
        return np.where(alone, ordinary, (ordinary + fastest) / 2)

    return decided(judged, SPENDING, signed_ranks)[0]


SCHEDULES: tuple[tuple[str, Bounds, dict[int, float]], ...] = (
    ("signed ranks", signed_ranks, SPENDING),
    ("signed ranks", signed_ranks, {7: 0.79, 13: 0.08, 16: 0.1, 27: 0.03}),
    ("signed ranks", signed_ranks, {8: 0.8, 14: 0.05, 17: 0.1, 27: 0.05}),
    ("signed ranks", signed_ranks, {8: 0.4, 12: 0.3, 18: 0.2, 27: 0.1}),
    ("signed ranks", signed_ranks, {9: 0.6, 13: 0.25, 17: 0.1, 27: 0.05}),
    ("Student's t", student, {5: 0.3, 8: 0.3, 12: 0.2, 18: 0.1, 27: 0.1}),
)
"""Interval, pairs at which one looks, and what each look spends."""


def schedules(trials: int = 5000) -> Iterable[str]:
    """Pairs until a decision, and the worst error rates over laws without skew and spreads of 1 to 5 %."""
    yield "| interval | looks (shares of the error rate) | pairs | A/A: slower, at worst | +3 %: equivalent, at worst |"
    yield "|---|---|---|---|---|"
    for name, bounds, spending in SCHEDULES:
        looks = ", ".join(f"{look} ({part:g})" for look, part in spending.items())
        used = [
            decisions("normal", spread, effect, trials, seed, spending, bounds)[1].mean()
            for spread in (0.01, 0.015, 0.02)
            for seed, effect in enumerate((0.0, EFFECT))
        ]
        laws = [(law, spread) for law in LAWS[:4] for spread in (0.01, 0.02, 0.03, 0.05)]
        worst = [
            max(decisions(*case, effect, trials, 2, spending, bounds)[0].count(label) / trials for case in laws)
            for effect, label in ((0.0, "slower"), (EFFECT, "equivalent"))
        ]
        yield f"| {name} | {looks} | {np.mean(used):.1f} | {100 * worst[0]:.1f} % | {100 * worst[1]:.1f} % |"


def coverage(trials: int = 10_000) -> Iterable[str]:
    """Coverage of nominal 95 % intervals of the middle, by number of values."""
    counts = (3, 5, 6, 8, 12, 20)
    yield f"| noise | interval | {' | '.join(f'n = {count}' for count in counts)} |"
    yield f"|---|---|{'---|' * len(counts)}"
    for law in LAWS:
        for name, bounds in (("as chosen", best), ("Student's t", student)):
            cells = [_covered(bounds(noise.draw(law, (trials, count), count), 0.025)) for count in counts]
            yield f"| {law} | {name} | {' | '.join(cells)} |"
    for name, stretch in (("as chosen, ABBA pairs", intervals.SERIAL), ("without the stretch, ABBA pairs", 1.0)):
        cells = [_stretched(noise.abba(noise.draw("ar0.5", (trials, 2 * n), n)), stretch) for n in counts]
        yield f"| ar0.5 | {name} | {' | '.join(cells)} |"


COUNTS = (2, 3, 5, 8, 12, 20)
ARMS = {
    "normal": 0.01,
    "heavy": 0.01,
    "bimodal": 0.015,
    "sticky": 0.015,
    "skewed": 0.01,
    "lognormal": 0.01,
    "ar0.5": 0.01,
}
"""Noise of one arm's processes, and its standard deviation: of two speeds 3 % apart, else 1 %."""


def arms(trials: int = 20_000) -> Iterable[str]:
    """Coverage of nominal 95 % intervals of one arm, and their widths."""
    yield f"| noise of processes | interval | {' | '.join(f'n = {count}' for count in COUNTS)} |"
    yield f"|---|---|{'---|' * len(COUNTS)}"
    kinds: dict[str, Bounds] = {
        "as chosen": one_arm,
        "memory alone": functools.partial(one_arm, speeds=False),
        "Student's t": student,
    }
    for law, spread in ARMS.items():
        for name, bounds in kinds.items():
            cells = [_covered(bounds(spread * noise.draw(law, (trials, count), count), 0.025)) for count in COUNTS]
            yield f"| {law} | {name} | {' | '.join(cells)} |"
    for spread in (0.01, 0.005, 0.002):
        for name, bounds in kinds.items():
            cells = [_width(bounds(spread * noise.draw("normal", (trials, count), count), 0.025)) for count in COUNTS]
            yield f"| ± of {100 * spread:g} % normal | {name} | {' | '.join(cells)} |"


def _width(bounds: Sequence[Array]) -> str:
    low, high = bounds
    return f"{100 * np.median(high - low) / 2:.2f} %"


def sessions(trials: int = 20_000) -> Iterable[str]:
    """How often one session of a program is called slower than another, at a stated 1 %."""
    yield f"| noise of processes | interval | {' | '.join(f'n = {count}' for count in COUNTS)} |"
    yield f"|---|---|{'---|' * len(COUNTS)}"
    for law, spread in ARMS.items():
        for name, memory in (("as chosen", True), ("Welch's", False)):
            cells = []
            for count in COUNTS:
                old, new = (spread * noise.draw(law, (trials, count), seed) for seed in (count, 100 + count))
                cells.append(f"{100 * np.mean(between_sessions(old, new, ALPHA, memory=memory) > 0):.2f} %")
            yield f"| {law} | {name} | {' | '.join(cells)} |"


def _covered(bounds: Sequence[Array]) -> str:
    low, high = bounds
    return f"{100 * np.mean((low <= 0) & (high >= 0)):.1f}"


def _stretched(values: Array, stretch: float) -> str:
    low, high = best(values, 0.025)
    ranked = values.shape[1] >= intervals.enough(0.025)
    centre = np.median(intervals.walsh(values), axis=1) if ranked else values.mean(axis=1)
    return _covered([centre + stretch * (low - centre), centre + stretch * (high - centre)])


def series(trials: int = 10_000) -> Iterable[str]:
    """False steps a series, and steps of three standard deviations that are found or could be."""
    lengths = (30, 40, 60, 100, 200)
    yield f"| series | {' | '.join(f'{points} points' for points in lengths)} |"
    yield f"|---|{'---|' * len(lengths)}"
    for law in ("normal", "skewed", "skewed down", "heavy", "bimodal", "ar0.25", "ar0.5", "ar0.7", "ar0.85"):
        cells = [_share(noise.draw(law, (trials, points), points)) for points in lengths]
        yield f"| {law}, without a step | {' | '.join(cells)} |"
    for law in ("normal", "ar0.5"):
        cells = []
        for points in lengths:
            stepped = noise.draw(law, (trials, points), points)
            stepped[:, -5:] += 3
            cells.append(f"{100 * np.mean(exceeds(stepped) | exceeds(stepped[:, :-1])):.2f} %")
        yield f"| {law}, step of 3 sd, looked for after the fourth and the fifth point | {' | '.join(cells)} |"
    cells = [f"{100 * bound(points, trials):.2f} %" for points in lengths]
    yield f"| normal, step of 3 sd with 5 points after it, the most that could be found | {' | '.join(cells)} |"
    for law, after in [("normal", n) for n in (5, 7, 10, 15)] + [("ar0.5", n) for n in (5, 10, 15)]:
        cells = []
        for points in lengths:
            stepped = noise.draw(law, (trials, points), points)
            stepped[:, -after:] += 3
            cells.append(_share(stepped))
        yield f"| {law}, step of 3 sd with {after} points after it | {' | '.join(cells)} |"


def bound(points: int, trials: int) -> float:
    """The most white series with a step in the last five points that a test with 1 % false steps in AR(0.5) could find.

    The likelihood ratio of the two (Neyman and Pearson 1933), which knows place, size and scale and only not the level.
    """
    order = np.arange(points)
    step = 3.0 * (order >= points - 5)
    laws = (0.5 ** np.abs(order - order[:, np.newaxis]), np.eye(points))

    def misfit(values: Array, covariance: Array) -> Array:
        """Squares about the level, by generalised least squares."""
        inverse = np.linalg.inv(covariance)
        column = inverse.sum(axis=0)
        return np.asarray(np.einsum("ni,ij,nj->n", values, inverse, values) - (values @ column) ** 2 / column.sum())

    remembering, stepped = noise.draw("ar0.5", (trials, points), 1), noise.draw("normal", (trials, points), 2) + step
    false, found = (misfit(y, laws[0]) - misfit(y - step, laws[1]) for y in (remembering, stepped))
    return float(np.mean(found > np.quantile(false, 1 - steps.RATE)))


def _share(values: Array) -> str:
    return f"{100 * np.mean(exceeds(values)):.2f} %"


def exceeds(values: Array) -> NDArray[np.bool_]:
    """Which of (N, n) series have a step, as `steps.find` decides it first."""
    blocks = [values[i : i + 1000] for i in range(0, len(values), 1000)]
    totals = np.concatenate([steps.weighed(block).total for block in blocks])
    return np.asarray(totals > steps.critical(values.shape[1]))


def work(shape: NetworkShape = PRESETS["cifar10"], batch: int = 4, **_: int) -> Iterable[str]:
    """What a pass computes and moves, by kind of layer; nothing here is drawn at random."""
    yield "| kind | layers | forward: 10⁹ operations | MB | operations a byte | training: 10⁹ operations | MB |"
    yield "|---|---|---|---|---|---|---|"
    layers = walk(shape)
    for kind in (*KINDS, "all"):
        chosen = [layer for layer in layers if kind in (layer.kind, "all")]
        forward, training = (
            sum((layer.work(step, batch) for layer in chosen), Work(0, 0, 0)) for step in ("forward", "training")
        )
        yield _row(kind, len(chosen), *_columns(forward), f"{forward.intensity:.1f}", *_columns(training))
    yield _row("optimiser", "", "", "", "", *_columns(roofline.optimiser(shape)))


def _columns(work: Work) -> tuple[str, str]:
    return f"{(work.flops + work.operations) / 1e9:.2f}", f"{work.bytes / 1e6:.0f}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


TABLES: dict[str, Callable[..., Iterable[str]]] = {
    "schedules": schedules,
    "comparisons": comparisons,
    "ordinary and fastest": ordinary_and_fastest,
    "coverage": coverage,
    "arms": arms,
    "sessions": sessions,
    "series": series,
    "work": work,
}

if __name__ == "__main__":
    for title, table in TABLES.items():
        print(f"<!-- {title} -->", *table(), "", sep="\n")
