"""The training objective, its gradient, and the moving average of the weights.

    L_simple = mean of |eps - eps_hat(sqrt(a) x_0 + sqrt(1 - a) eps, t)|^2        Ho et al. 2020, Eq. 14, Algorithm 1

The model is the judge's own, so it sees which x_t and t the loss makes of (x_0, eps), and answers so that the loss is
known.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from verification.affine import remembered
from verification.check import Evidence, check, generator
from verification.identification import as_input
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, Integers
from verification.protocol import EpsModel, Subject, dtype_of
from verification.step_rounding import ROUNDINGS
from verification.tolerance import compare, exactly, gamma, holds, unit_roundoff

PARAMETERIZATIONS = ("eps", "x_0", "v")
BATCH, SIZE = 12, 5  # no two axes of one length, so that nothing broadcasts by luck
DECAYS = (0.5, 0.875, 1 - 2.0**-8)  # exact, and so is 1 - decay: nothing of it cancels in any type
VALUES = 12


def batch(subject: Subject) -> tuple[Array, Integers, Array]:
    """x_0 (12, 5) in [-1, 1], t (12,) from end to end, eps (12, 5): on a grid of 1/64, rows of growing size."""
    random = generator("LOS")
    growing = np.linspace(0.25, 1.0, BATCH)[:, None]
    x_0 = np.round(random.uniform(-1, 1, (BATCH, SIZE)) * growing * 64) / 64
    eps = np.round(np.clip(random.normal(size=(BATCH, SIZE)), -2, 2) * growing * 64) / 64
    t = np.linspace(0, subject.num_timesteps - 1, BATCH).astype(np.int64)
    return x_0, t, eps


def exact_target(tables: ExactSchedule, kind: str, x_0: Array, t: Integers, eps: Array) -> Array:
    """What the model should say: eps, x_0, or v = sqrt(a) eps - sqrt(1 - a) x_0."""
    if kind == "v":
        return np.asarray(tables.sqrt_alpha_bar[t, None] * eps - tables.sqrt_one_minus_alpha_bar[t, None] * x_0)
    return eps if kind == "eps" else x_0


def noised(tables: ExactSchedule, x_0: Array, t: Integers, eps: Array) -> Array:
    """x_t of Eq. 4, (12, 5)."""
    return np.asarray(tables.sqrt_alpha_bar[t, None] * x_0 + tables.sqrt_one_minus_alpha_bar[t, None] * eps)


def mixing_error(subject: Subject, tables: ExactSchedule, t: Integers, first: Array, second: Array) -> Array:
    """The rounding of sqrt(a) first + sqrt(1 - a) second, (12, 5): T1, and what float64 does to the tables."""
    u = unit_roundoff(dtype_of(subject))
    terms = (("sqrt_alpha_bar", first), ("sqrt_one_minus_alpha_bar", second))
    return np.asarray(
        sum(
            (ROUNDINGS * u * tables.table(name) + tables.error(name))[t, None] * np.abs(values)
            for name, values in terms
        )
    )


def objectives(subject: Subject) -> Iterator[tuple[str, Subject]]:
    """The subject under each parameterisation it offers: by `variant`, or its own alone."""
    own = getattr(subject, "parameterization", "eps")
    for kind in PARAMETERIZATIONS:
        if kind == own:
            yield kind, subject
        elif hasattr(subject, "variant") and hasattr(subject, "parameterization"):
            yield kind, remembered(subject, kind, partial(subject.variant, parameterization=kind))


@check(
    "LOS-1",
    claim="A model that returns the very target scores 0, in every objective: one noise makes both x_t and the target.",
    source="Ho et al. 2020, Algorithm 1, lines 4 and 5, and Eq. 14",
    needs=("loss", "num_timesteps"),
    level=1,
    kills=("M01", "M04", "M12", "M13", "M14", "M37", "M60"),
    tolerance="T0 for eps and x_0, which are copied; for v the square of its rounding. T1 for the x_t the model sees.",
)
def oracle_loss(subject: Subject) -> Iterator[Evidence]:
    """The loss of a model that knows the answer, and what that model was asked."""
    x_0, t, eps = batch(subject)
    tables = exact(subject)
    x_t, error = noised(tables, x_0, t, eps), mixing_error(subject, tables, t, x_0, eps)
    for kind, judged in objectives(subject):
        seen: list[tuple[Array, Array]] = []
        target = as_input(subject, exact_target(tables, kind, x_0, t, eps))
        score = judged.loss(recorder(seen, target), x_0, t, eps)
        rounding = float((mixing_error(subject, tables, t, eps, x_0) ** 2).mean()) if kind == "v" else 0.0
        reason = f"the model returns the {kind} that the loss compares it with"
        yield compare(score, 0.0, rounding, where=f"loss of {kind}", reason=reason)
        yield holds(len(seen) == 1, where=f"loss of {kind}", reason=f"the model was asked {len(seen)} times, not once")
        if seen:
            yield from asked_evidence(seen[0], x_t, error, t)


def recorder(seen: list[tuple[Array, Array]], answer: Array) -> EpsModel:
    """A model that always says `answer` and keeps what it is asked."""

    def model(x_t: Array, t: Array) -> Array:
        seen.append((np.array(x_t, dtype=np.float64), np.array(t)))
        return answer

    return model


def asked_evidence(seen: tuple[Array, Array], x_t: Array, error: Array, t: Integers) -> Iterator[Evidence]:
    """Evidence that the model was asked at the t given and at x_t = q_sample(x_0, t, eps)."""
    asked, at = seen
    yield exactly(at, t.astype(at.dtype), where="t given to the model", labels=("image",), reason="the t of the loss")
    yield compare(
        asked,
        x_t,
        error,
        where="x_t given to the model",
        labels=("image", "pixel"),
        reason="q_sample(x_0, t, eps) with the noise that the target has",
        diagnosis="x_t is not made of the x_0, t and eps given: other noise, or another formula (see FWD-1)",
    )


@check(
    "LOS-2",
    claim="A model that says 0 scores the mean square of the target over all elements: mean eps^2 in the paper.",
    source="Ho et al. 2020, Eq. 14, as a mean",
    needs=("loss", "num_timesteps"),
    level=1,
    kills=("M62",),
    tolerance="T1: a mean of 60 squares, all positive: gamma of 60 and a few.",
)
def zero_model(subject: Subject) -> Iterator[Evidence]:
    """The loss of a model without a clue."""
    x_0, t, eps = batch(subject)
    for kind, judged in objectives(subject):
        target = exact_target(exact(subject), kind, x_0, t, eps)
        score = judged.loss(silent, x_0, t, eps)
        expected = float((target**2).mean())
        rounding = gamma(BATCH * SIZE + 2 * ROUNDINGS, unit_roundoff(dtype_of(subject)))
        error = mixing_error(subject, exact(subject), t, eps, x_0) if kind == "v" else np.zeros_like(eps)
        yield compare(
            score,
            expected,
            rounding * expected + float(((2 * np.abs(target) + error) * error).mean()),
            where=f"loss of {kind}",
            reason=f"the mean of {kind}^2 over {BATCH * SIZE} elements",
            diagnosis=partial(wrong_reduction, score / expected),
        )


def silent(x_t: Array, t: Array) -> Array:  # noqa: ARG001 - a model without a clue
    """The model that says 0."""
    return np.zeros_like(x_t)


def wrong_reduction(ratio: float) -> str:
    """What a loss that is off by this factor reduces over."""
    known = {
        "a sum over everything instead of a mean": BATCH * SIZE,
        "a sum over the pixels, a mean over the batch": SIZE,
        "a sum over the batch, a mean over the pixels": BATCH,
        "half the mean square": 0.5,
        "doubled": 2.0,
    }
    return next((text for text, factor in known.items() if abs(ratio / factor - 1) < 1e-3), "")


@check(
    "GRD-1",
    claim="The gradient of the loss for a linear model is -2 / (N D) times the residual transposed, times x_t.",
    source="Ho et al. 2020, Eq. 14, differentiated",
    needs=("linear_loss_gradient", "num_timesteps"),
    level=1,
    kills=("M01", "M12", "M13", "M14", "M60", "M62"),
    tolerance="T2: sums over N rows of products, with the rounding of x_t and of the residual.",
)
def linear_gradient(subject: Subject) -> Iterator[Evidence]:
    """The whole matrix, for a model that is neither zero nor right."""
    x_0, t, eps = batch(subject)
    tables, u = exact(subject), unit_roundoff(dtype_of(subject))
    kind = getattr(subject, "parameterization", "eps")
    w = np.round(generator("GRD-1").normal(size=(SIZE, SIZE)) * 32) / 64
    x_t, target = noised(tables, x_0, t, eps), exact_target(tables, kind, x_0, t, eps)
    residual, scale = target - x_t @ w.T, 2 / (BATCH * SIZE)
    of_x_t = mixing_error(subject, tables, t, x_0, eps)
    of_target = mixing_error(subject, tables, t, eps, x_0) if kind == "v" else np.zeros_like(eps)
    size = np.abs(target) + np.abs(x_t) @ np.abs(w).T
    of_residual = of_target + of_x_t @ np.abs(w).T + gamma(SIZE + 2, u) * size
    of_products = of_residual.T @ np.abs(x_t) + (np.abs(residual) + of_residual).T @ of_x_t
    of_sum = gamma(BATCH + ROUNDINGS, u) * np.abs(residual).T @ np.abs(x_t)
    observed = subject.linear_loss_gradient(as_input(subject, w), x_0, t, eps)
    expected = -scale * residual.T @ x_t
    yield compare(
        observed,
        expected,
        scale * (of_products + of_sum),
        labels=("row", "column"),
        reason="-2 / (N D) (target - W x_t)^T x_t on the batch",
        diagnosis=lambda: wrong_gradient(np.asarray(observed, dtype=np.float64), expected),
    )


def wrong_gradient(observed: Array, expected: Array) -> str:
    """The factor or transposition by which a gradient is off."""
    if observed.shape != expected.shape:
        return ""
    if np.allclose(observed, expected.T, rtol=1e-3, atol=1e-6):
        return "transposed"
    ratio = float(np.sum(observed * expected) / np.sum(expected**2))
    proportional = np.allclose(observed, ratio * expected, rtol=1e-3, atol=1e-6)
    if proportional and abs(ratio + 1) < 1e-3:
        return "the sign is flipped"
    return wrong_reduction(ratio) if proportional else ""


@check(
    "EMA-1",
    claim="After K values the moving average weighs the first decay^(K-1), another (1 - decay) decay^(K-1-j).",
    source="Ho et al. 2020, appendix B (decay 0.9999); e <- decay e + (1 - decay) value, from the first value",
    needs=("ema",),
    level=1,
    kills=("M71",),
    tolerance="T2: gamma of 3 (K - 1) operations, relative to the weights, all of which are positive.",
)
def moving_average(subject: Subject) -> Iterator[Evidence]:
    """Impulse responses: the weight of each of 12 values, and after a step the closed form 1 - decay^(K-1)."""
    impulses = np.eye(VALUES)
    impulses = np.concatenate([impulses, 1.0 - impulses[:, :1]], axis=1)  # last column: 0, then 1 for ever
    for decay in DECAYS:
        since = np.arange(VALUES - 1, -1, -1)
        weights = np.where(np.arange(VALUES) == 0, 1.0, 1 - decay) * decay**since
        expected = np.append(weights, 1 - decay ** (VALUES - 1))
        observed = subject.ema(as_input(subject, impulses), decay)
        yield compare(
            observed,
            expected,
            gamma(3 * VALUES, unit_roundoff(dtype_of(subject))) * expected,
            where=f"decay {decay:g}, weight of",
            labels=("value",),
            reason="decay^(K-1) for the first value, (1 - decay) decay^(K-1-j) for the others",
            diagnosis=partial(swapped_decay, np.asarray(observed, dtype=np.float64), expected, decay),
        )


def swapped_decay(observed: Array, expected: Array, decay: float) -> str:
    """Whether old and new have each other's weight."""
    rate = 1 - decay
    weights = np.where(np.arange(VALUES) == 0, 1.0, decay) * rate ** np.arange(VALUES - 1, -1, -1)
    other = np.append(weights, 1 - rate ** (VALUES - 1))
    same = observed.shape == expected.shape and decay != 0.5 and np.allclose(observed, other, rtol=1e-4)
    return "decay and 1 - decay are swapped" if same else ""
