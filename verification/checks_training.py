"""Training whose outcome is known: gradient descent of a linear model on data with chosen second moments.

A mean squared error sees of its batch the second moments alone. A batch of N rows taken from a Hadamard matrix has
those of Gaussian data x_0 ~ N(0, Sigma) with independent noise, and has them exactly, so nothing here is estimated:

    S = a Sigma + (1 - a) I of x_t,  C of the target against x_t,  W* = C S^-1,  L* = L(W*) = a tr(Sigma S^-1) / D

where the last form is that of eps-prediction. Plain gradient descent from W_0 = 0 with rate r is a linear recursion,

    W_k - W* = -W* (I - 2 r / D S)^k,        L(W_k) = L* + delta_k,  delta_k = tr((W_k - W*) S (W_k - W*)^T) / D

so the loss must not only come down: it must arrive at L* + delta_k, at every t. What each step may err is the rounding
of one gradient, as in GRD-1; the recursion contracts it by its largest factor and adds up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import hadamard

from verification.check import Evidence, check
from verification.checks_loss import exact_target, mixing_error, noised
from verification.identification import as_input
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, Integers
from verification.protocol import Subject, dtype_of
from verification.step_rounding import ROUNDINGS
from verification.tolerance import compare, gamma, unit_roundoff

SIZE = 4
ROWS = 16
STEPS = 24
PLACES = 5  # time steps, from end to end
MIXING = np.array([[8, 0, 0, 0], [3, 7, 0, 0], [-2, 1, 6, 0], [1, -2, 2, 5]]) / 8
"""x_0 = MIXING u with u of unit covariance: Sigma is neither diagonal nor near I. Its entries are exact in any type."""


@dataclass(frozen=True)
class Lesson:
    """Gradient descent at one time step: the batch of a subject with exact `tables`, and what must come of it."""

    tables: ExactSchedule
    kind: str
    step: int

    @cached_property
    def rows(self) -> tuple[Array, Integers, Array]:
        """x_0 (16, 4), t (16,), eps (16, 4); the columns of a Hadamard matrix are orthogonal and, but one, centred."""
        signs = hadamard(ROWS).astype(float)[:, 1 : 2 * SIZE + 1]
        return signs[:, :SIZE] @ MIXING.T, np.full(ROWS, self.step), signs[:, SIZE:]

    @cached_property
    def x_t(self) -> Array:
        """Eq. 4, (16, 4)."""
        return noised(self.tables, *self.rows)

    @cached_property
    def target(self) -> Array:
        """What the model should say, (16, 4)."""
        return exact_target(self.tables, self.kind, *self.rows)

    @cached_property
    def second_moment(self) -> Array:
        """S = a Sigma + (1 - a) I."""
        a, rest = self.tables.alpha_bar[self.step], self.tables.one_minus_alpha_bar[self.step]
        return np.asarray(a * MIXING @ MIXING.T + rest * np.eye(SIZE))

    @cached_property
    def best(self) -> Array:
        """W* = C S^-1."""
        return np.asarray(np.linalg.solve(self.second_moment, self.x_t.T @ self.target / ROWS).T)

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of S."""
        values, vectors = np.linalg.eigh(self.second_moment)
        return np.asarray(values), np.asarray(vectors)

    @property
    def rate(self) -> float:
        """D / (largest + smallest eigenvalue), with which the slowest and the fastest direction shrink alike."""
        values, _ = self.spectrum
        return float(SIZE / (values[0] + values[-1]))

    def weights(self, k: int) -> Array:
        """W_k."""
        values, vectors = self.spectrum
        shrunk = (1 - 2 * self.rate / SIZE * values) ** k
        return np.asarray(self.best - self.best @ (vectors * shrunk) @ vectors.T)

    def loss(self, w: Array) -> float:
        """The loss of the model `w`."""
        return float(np.mean((self.target - self.x_t @ w.T) ** 2))

    @property
    def floor(self) -> float:
        """L* for eps-prediction as Gaussian data have it, a tr(Sigma S^-1) / D; otherwise the loss of W*."""
        if self.kind != "eps":
            return self.loss(self.best)
        kept = self.tables.alpha_bar[self.step] * np.linalg.solve(self.second_moment, MIXING @ MIXING.T)
        return float(np.trace(kept) / SIZE)

    def excess(self, w: Array) -> float:
        """How far the loss of `w` is above the floor: tr((W - W*) S (W - W*)^T) / D, which cannot cancel."""
        off = w - self.best
        return float(np.sum((off @ self.second_moment) * off) / SIZE)


@dataclass(frozen=True)
class Rounding:
    """What a subject's type does to a lesson."""

    subject: Subject
    lesson: Lesson

    @property
    def unit(self) -> float:
        """The unit roundoff of the subject's type."""
        return unit_roundoff(dtype_of(self.subject))

    def of_residual(self, w: Array) -> Array:
        """Of target - W x_t, (16, 4), if no entry of the weights is larger than in `w`; as in GRD-1."""
        x_0, t, eps = self.lesson.rows
        exact_t, exact_y, tables = self.lesson.x_t, self.lesson.target, self.lesson.tables
        of_target = mixing_error(self.subject, tables, t, eps, x_0) if self.lesson.kind == "v" else 0.0
        size = np.abs(exact_y) + np.abs(exact_t) @ np.abs(w).T
        return np.asarray(of_target + self.of_x_t @ np.abs(w).T + gamma(SIZE + 3, self.unit) * size)

    @cached_property
    def of_x_t(self) -> Array:
        """Of x_t, (16, 4)."""
        x_0, t, eps = self.lesson.rows
        return mixing_error(self.subject, self.lesson.tables, t, x_0, eps)

    def of_gradient(self, w: Array, off: float) -> float:
        """In the Frobenius norm, at weights no entry of which is farther than `off` from `w`."""
        x_t, largest = np.abs(self.lesson.x_t), np.abs(w) + off
        residual = np.abs(self.lesson.target - self.lesson.x_t @ w.T) + x_t.sum(axis=1, keepdims=True) * off
        error = self.of_residual(largest)
        products = error.T @ x_t + (residual + error).T @ self.of_x_t
        summed = gamma(ROWS + ROUNDINGS, self.unit) * residual.T @ x_t
        return float(2 / (ROWS * SIZE) * np.linalg.norm(products + summed))

    @cached_property
    def of_weights(self) -> Array:
        """After each step, (24,), in the Frobenius norm: it shrinks what was there and adds one gradient's error."""
        lesson, off = self.lesson, [0.0]
        values, _ = lesson.spectrum
        shrinks = float(np.abs(1 - 2 * lesson.rate / SIZE * values).max())
        for k in range(STEPS):
            off.append(shrinks * off[-1] + lesson.rate * self.of_gradient(lesson.weights(k), off[-1]))
        return np.array(off[1:]) + 1000 * np.finfo(float).eps  # of the judge's own sums and eigenvectors


@check(
    "TRN-1",
    claim="Gradient descent of a linear model on Gaussian data takes the way, and reaches the loss, that is predicted.",
    source="Ho et al. 2020, Eq. 14, quadratic in W: L* = alpha_bar tr(Sigma S^-1) / D, and a linear recursion",
    needs=("linear_loss_gradient", "loss", "num_timesteps"),
    level=5,
    kills=("M01", "M60", "M62", "P20"),
    tolerance="T2: rounding of each of 24 gradients as in GRD-1, contracted by the recursion; of a loss at the end.",
)
def training_arrives(subject: Subject) -> Iterator[Evidence]:
    """TRN-1, at five time steps from end to end: the weights, their excess over L*, and the loss the subject sees."""
    kind = getattr(subject, "parameterization", "eps")
    for step in np.unique(np.linspace(0, subject.num_timesteps - 1, PLACES).astype(int)):
        lesson = Lesson(exact(subject), kind, int(step))
        yield from _learnt(Rounding(subject, lesson), _trained(subject, lesson))


def _trained(subject: Subject, lesson: Lesson) -> Array:
    """The weights after each step, (24, 4, 4); they are the judge's and in float64, the gradients the subject's."""
    way = [np.zeros((SIZE, SIZE))]
    for _ in range(STEPS):
        w = way[-1]
        way.append(
            w - lesson.rate * np.asarray(subject.linear_loss_gradient(as_input(subject, w), *lesson.rows), float)
        )
    return np.array(way[1:])


def _learnt(rounding: Rounding, way: Array) -> Iterator[Evidence]:
    lesson, place = rounding.lesson, f"t={rounding.lesson.step}"
    yield compare(
        way,
        np.array([lesson.weights(k) for k in range(1, STEPS + 1)]),
        rounding.of_weights[:, None, None],
        where=lambda index: f"{place}, weights after step {index[0] + 1}",
        reason="W* (1 - (1 - 2 r S / D)^k) after k steps of gradient descent",
    )
    if np.isfinite(way).all():  # if not, the comparison above has failed
        yield from _losses(rounding, way[-1], float(rounding.of_weights[-1]), place)


def _losses(rounding: Rounding, w: Array, off: float, place: str) -> Iterator[Evidence]:
    """The exact loss of the trained model, then the one that the subject sees."""
    lesson, due = rounding.lesson, rounding.lesson.weights(STEPS)
    largest, distance = lesson.spectrum[0][-1], float(np.linalg.norm(due - lesson.best))
    bound = largest * off * (2 * distance + off) / SIZE + 1e-13 * lesson.floor
    reason = "delta of the recursion: the loss lies in [L*, L* + delta]"
    yield compare(lesson.excess(w), lesson.excess(due), bound, where=f"{place}, above L*", reason=reason)
    yield _seen_loss(rounding, w, bound, place)


def _seen_loss(rounding: Rounding, w: Array, of_training: float, place: str) -> Evidence:
    """The subject's own loss of the trained model, against L* + delta."""
    subject, lesson = rounding.subject, rounding.lesson
    due, error = lesson.weights(STEPS), rounding.of_residual(w)
    seen = subject.loss(lambda x, _: as_input(subject, np.asarray(x).astype(float) @ w.T), *lesson.rows)
    residual = np.abs(lesson.target - lesson.x_t @ w.T)
    summed = gamma(ROWS * SIZE + ROUNDINGS, rounding.unit) * (residual + error) ** 2
    bound = of_training + float(np.mean((2 * residual + error) * error + summed))
    expected = lesson.floor + lesson.excess(due)
    return compare(seen, expected, bound, where=f"{place}, loss", reason="L* + delta")
