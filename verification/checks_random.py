"""The numbers that sampling and training draw: their law, that each is used once, and that a seed decides them all.

Ho et al. 2020, Algorithm 1, lines 2 to 4, and Algorithm 2, lines 1 and 3: t ~ Uniform({1, ..., T}), eps, x_T and z ~
N(0, I), every one independent of every other. A generator of a library is good enough for that; what goes wrong is how
it is used: seeded anew in each step, drawn once and broadcast, one stream opened twice, the last t left out.
`significance.py` has the error rates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verification.check import Evidence, check
from verification.draws import (
    CORNER_DEVIATIONS,
    CORNER_MEANS,
    CORNERS,
    IMAGES,
    SHAPE,
    STEPS,
    corners,
    draws,
    noise_of,
    rows,
    with_few_steps,
)
from verification.oracle_gaussian import Array, Integers
from verification.protocol import Subject, dtype_of
from verification.randomness import seed_of
from verification.significance import (
    Account,
    correlation,
    correlation_design,
    count_design,
    counts_design,
    mean_design,
    pearson,
    variance_design,
)
from verification.tolerance import exactly, holds, unit_roundoff
from verification.whiteness import white_evidence

TOLERANCE = "T5: exact critical values for a false alarm budget shared by all random checks; see significance.py"

DRAWN_PER_STEP, DRAWN_AT_LEAST = 400, 40_000
"""TRN-2: how often each time step of the subject should come, and how many are drawn where there are few steps."""

LAGS = (1, 2, 4, 8, 10, 32, 64, 100, 128, 256, 500, 512, 1000, 1024, 4096)
"""RNG-1: how far apart two images of a batch stand; powers of two, and the sizes in which people make images."""

PART = slice(0, 8)
"""RNG-1: the steps in which images and streams are compared; two million numbers are enough."""

SMALL = (3, 1, 4, 4)
"""RNG-2: a call so small that it can be repeated at will."""


@check(
    "SMP-9",
    claim="A sampler starts from x_T ~ N(0, I): of the shape asked for, unit variance, no two pixels or images alike.",
    source="Ho et al. 2020, Algorithm 2, line 1",
    needs=("sampling_noise", "variant", "num_timesteps"),
    level=4,
    kills=("R03", "R05", "R10"),
    tolerance=TOLERANCE,
)
def start(subject: Subject) -> Iterator[Evidence]:
    """The x_T of 16384 images of 16 pixels."""
    account, drawn = Account("SMP-9"), draws(subject)
    yield from white_evidence(
        rows(drawn.sampling[0]),
        account,
        1.0,
        where="x_T",
        rounding=unit_roundoff(dtype_of(drawn.subject)),
        diagnosis="x_T is not standard normal, or not independent between pixels",
    )


@check(
    "TRN-2",
    claim="Training draws each t from 0 to T - 1, both ends among them, and each image, equally often, independently.",
    source="Ho et al. 2020, Algorithm 1, lines 2 and 3",
    needs=("draw_timesteps", "training_batches", "variant", "num_timesteps"),
    level=4,
    kills=("M19", "R11", "R12", "R22"),
    tolerance=TOLERANCE,
)
def uniform_timesteps(subject: Subject) -> Iterator[Evidence]:
    """Draws of the subject's own time steps; a run of 40 batches; and each t with its neighbour in the batch."""
    account, T = Account("TRN-2"), subject.num_timesteps
    n = max(DRAWN_PER_STEP * T, DRAWN_AT_LEAST)
    t = np.asarray(subject.draw_timesteps(n, seed_of("TRN-2")))
    whole = t.dtype.kind in "iu" and t.shape == (n,) and t.min() >= 0 and t.max() < T
    span = f"{t.min()} ... {t.max()}, {t.dtype}, shape {t.shape}" if t.size else "nothing"
    yield holds(bool(whole), where="draw_timesteps", reason=f"drew {span}: whole numbers in 0 ... {T - 1}")
    if whole and T > 1:
        yield from uniform_evidence(t, T, account, 0.4, "draw_timesteps, t")
    x_0, at, _ = draws(subject).training
    yield from uniform_evidence(at.ravel(), STEPS, account, 0.2, "training_batches, t")
    both = at[:, :-1:2].astype(np.int64) * STEPS + at[:, 1::2]
    yield from uniform_evidence(
        both.ravel(), STEPS**2, account, 0.2, f"training_batches, t of neighbours ({STEPS} a + b)"
    )
    yield from uniform_evidence(which(x_0), CORNERS, account, 0.2, "training_batches, image")


def uniform_evidence(values: Integers, outcomes: int, account: Account, share: float, where: str) -> Iterator[Evidence]:
    """Evidence that `values` in 0 ... `outcomes` - 1 are equally likely: all together, and each by itself."""
    counts = np.bincount(values, minlength=outcomes)
    n = int(values.size)
    together = counts_design(n, outcomes=outcomes, effect=0.09, alpha=account.spend(share / 2))
    each = count_design(n, outcomes=outcomes, factor=3, alpha=account.spend(share / 2, comparisons=outcomes))
    yield together.sound()
    yield each.sound()
    yield together.judge(pearson(counts), where=where, diagnosis=never(counts))
    yield each.judge(counts * (outcomes / n) - 1, where=lambda index: f"{where}={index[0]}", diagnosis=never(counts))


def never(counts: Integers) -> str:
    """Which outcomes did not come at all, the first few of them."""
    missing = np.flatnonzero(counts == 0)
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return f"never drawn: {', '.join(map(str, missing[:5]))}{more}" if len(missing) else ""


def which(x_0: Array) -> Integers:
    """The number of the training image that each drawn image is, flat, read off six of its pixels; see `corners`."""
    bits = rows(x_0.reshape(-1, *SHAPE[1:]))[:, :6] < CORNER_MEANS[:6]
    return np.asarray(bits @ (1 << np.arange(6)))


@check(
    "RNG-1",
    claim="Every number is drawn anew: for each step, image and pixel, in sampling and training, and none twice.",
    source="Ho et al. 2020, Algorithms 1 and 2",
    needs=("sampling_noise", "training_batches", "variant", "num_timesteps"),
    level=4,
    kills=("R01", "R02", "R04", "R06", "R07", "R13", "R14", "R21"),
    tolerance=TOLERANCE + "; T0 for images of noise that come twice: the chance is below 1e-30",
)
def independent_noise(subject: Subject) -> Iterator[Evidence]:
    """Noise of 41 and 40 steps of 16384 images of 16 pixels: twice the same, correlated, or of another size."""
    account, drawn = Account("RNG-1"), draws(subject)
    x_T, z = drawn.sampling
    x_0, t, eps = drawn.training
    sampling = np.concatenate([x_T[None], z]).reshape(STEPS + 1, -1)
    training = eps.reshape(STEPS, -1)
    names = ["x_T", *(f"z[{i}]" for i in range(STEPS))]
    yield from steps_evidence(sampling, account, 0.3, names)
    yield from steps_evidence(training, account, 0.3, [f"eps of step {i + 1}" for i in range(STEPS)])
    yield from images_evidence({"sampling": sampling, "training": training}, account, 0.2)
    yield from crossed_evidence(
        {
            "sampling and training of one seed": (z[PART], eps[PART]),
            "eps and x_0": (np.asarray(x_0[PART], np.float64) - corner_means(), eps[PART]),
            "eps and t": (np.broadcast_to(centred(t[PART]), eps[PART].shape), eps[PART]),
            "x_T of two seeds": (x_T, noise_of(drawn.subject, SHAPE, 0, drawn.seed + 1)[0]),
        },
        account,
        0.2,
    )


def corner_means() -> Array:
    """The mean of each pixel of the training images, shaped like an image."""
    return CORNER_MEANS.reshape(SHAPE[1:])


def centred(t: Integers) -> Array:
    """`t` about the middle of its range, shaped to multiply images."""
    return np.asarray(t - (STEPS - 1) / 2)[..., None, None, None]


def steps_evidence(noise: Array, account: Account, share: float, names: list[str]) -> Iterator[Evidence]:
    """Evidence about the noise of each step, (steps, numbers): mean, variance, and any two steps' correlation."""
    steps, n = noise.shape
    pairs = steps * (steps - 1) // 2
    mean = mean_design(n, shift=0.03, alpha=account.spend(share / 3, comparisons=steps))
    variance = variance_design(n, factor=1.04, alpha=account.spend(share / 3, comparisons=steps))
    between = correlation_design(n, rho=0.03, alpha=account.spend(share / 3, comparisons=pairs))
    for design in (mean, variance, between):
        yield design.sound()
    noise = noise.astype(np.float64)
    products = noise @ noise.T
    squares = np.diag(products)
    yield mean.judge(noise.mean(axis=1), where=lambda index: f"mean of {names[index[0]]}")
    yield variance.judge(squares / n - 1, where=lambda index: f"variance of {names[index[0]]}")
    first, second = np.triu_indices(steps, 1)
    yield between.judge(
        products[first, second] / np.sqrt(squares[first] * n),
        where=lambda index: f"{names[first[index[0]]]} and {names[second[index[0]]]}",
        diagnosis="two steps share their noise",
    )


def images_evidence(noise: dict[str, Array], account: Account, share: float) -> Iterator[Evidence]:
    """Evidence that no image's noise comes twice, at any step, and that images at some distances are uncorrelated."""
    n = len(range(*PART.indices(STEPS))) * IMAGES // 4 * 16
    for what, values in noise.items():
        yield repeated(values.reshape(-1, 16), what)
        images = values[PART].reshape(-1, IMAGES, 16)
        alpha = account.spend(share / len(noise), comparisons=len(LAGS))
        design = correlation_design(n, rho=0.02, alpha=alpha)
        yield design.sound()
        yield design.judge(
            np.array([lagged(images, lag, n) for lag in LAGS]),
            where=lambda index, what=what: f"{what}, images {LAGS[index[0]]} apart",  # type: ignore[misc]  # bound now
            diagnosis="images of a batch share their noise",
        )


def lagged(images: Array, lag: int, n: int) -> float:
    """The correlation of images (steps, B, 16) that stand `lag` apart, each taken once; `n` numbers of each.

    Blocks of `lag` images are paired with the next block, so the two sides have no number in common.
    """
    steps, count, pixels = images.shape
    blocks = images[:, : count // (2 * lag) * 2 * lag].reshape(steps, -1, 2, lag, pixels)
    first, second = (blocks[:, :, side].reshape(-1)[:n].astype(np.float64) for side in (0, 1))
    return correlation(first, second)


def repeated(images: Array, what: str) -> Evidence:
    """Evidence that no two rows of `images` (n, 16) are equal: the first four numbers never are by chance.

    Rows are told apart by a weighted sum in float64; where two sums agree the rows themselves are compared.
    """
    keys = images.astype(np.float64) @ np.sqrt(np.arange(2.0, 18.0))
    order = np.argsort(keys, kind="stable")
    close = np.flatnonzero(np.diff(keys[order]) == 0)
    same = (images[order[close]] == images[order[close + 1]]).all(axis=1)
    place = ""
    if same.any():
        first, second = sorted((int(order[close[same][0]]), int(order[close[same][0] + 1])))
        place = "; first: " + " and ".join(f"image {row % IMAGES} of draw {row // IMAGES}" for row in (first, second))
    return exactly(
        np.array(int(same.sum())),
        np.array(0),
        where=f"{what}, repeated images of noise",
        reason=f"of {len(images)} images of 16 normal numbers no two are equal{place}",
        diagnosis="noise is drawn once and used again",
    )


def crossed_evidence(pairs: dict[str, tuple[Array, Array]], account: Account, share: float) -> Iterator[Evidence]:
    """Evidence that in each of `pairs` the second, noise, is independent of the first."""
    alpha = account.spend(share, comparisons=len(pairs))
    for what, (first, second) in pairs.items():
        design = correlation_design(int(second.size), rho=0.03, alpha=alpha)
        yield design.sound()
        x, y = (np.asarray(values, np.float64).ravel() for values in (first, second))
        yield design.judge(
            correlation(x, y), where=what, diagnosis="they are drawn from one stream, or one from the other"
        )


@check(
    "RNG-2",
    claim="A seed decides every number drawn, to the bit, in every execution mode; another seed gives other numbers.",
    source="definition of a seed; a run that is recorded with its seed can be had again",
    needs=("sampling_noise", "training_batches", "draw_timesteps", "variant", "num_timesteps"),
    level=4,
    kills=("R15", "R16", "R17"),
    tolerance="T0: bits. No number of another seed's is equal at its place: the chance is below 1e-30.",
)
def seeds_decide(subject: Subject) -> Iterator[Evidence]:
    """Each drawing method twice with a call of another seed between, with its neighbours' seeds, and in other modes."""
    few, seed = with_few_steps(subject), seed_of("RNG-2") // 2 + 1
    own = drawn_with(few, seed)
    others = [drawn_with(few, other) for other in (seed + 1, seed - 1, seed // 2, 0)]
    for name, values in drawn_with(few, seed).items():
        yield exactly(values, own[name], where=name, reason=f"the same seed, {seed}, after other calls")
    for name, values in own.items():
        for other in others:
            alike = np.array_equal(values, other[name])
            yield holds(not alike, where=f"{name} of two seeds", reason="another seed gives other numbers")
    x_0 = np.abs(own["x_0"].astype(np.float64) - corner_means())
    known = np.broadcast_to(CORNER_DEVIATIONS.reshape(SHAPE[1:]), x_0.shape)
    yield exactly(x_0, np.array(known), where="x_0", reason="training images are those it was given, to the bit")
    modes = subject.counterparts() if getattr(subject, "counterparts", None) is not None else {}
    for mode, counterpart in modes.items():
        for name, values in drawn_with(with_few_steps(counterpart), seed).items():
            yield exactly(values, own[name], where=f"{name} in {mode}", reason="the same seed in another mode")


def drawn_with(subject: Subject, seed: int) -> dict[str, Array]:
    """A little of all that the subject draws for this seed."""
    x_T, z = noise_of(subject, SMALL, 2, seed)
    batches = subject.training_batches(corners(), 8, 3, seed)
    t = subject.draw_timesteps(64, seed)
    return {"x_T": x_T, "z": z, "x_0": batches["x_0"], "t": batches["t"], "eps": batches["eps"], "drawn t": t}
