"""Mistakes that are the same in any method: arguments swapped, a type too small, a wrong reduction, a lost result.

Each family is a table of methods and a function that plants one mutant a row. Ids read "q_sample:swapped".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.mutants import mutant
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject

STEPS = 50
"""T of these mutants."""


def _plant(id: str, mistake: str, killed_by: tuple[str, ...], **methods: Any) -> None:  # noqa: A002 - the field's name
    """Register the reference with these `methods` in the place of its own."""
    mutant(id, mistake, killed_by, num_timesteps=STEPS)(type("Planted", (ReferenceSubject,), methods))


def _right(subject: ReferenceSubject, method: str) -> Callable[..., Any]:
    """The reference's own method of `subject`."""
    made: Callable[..., Any] = getattr(super(type(subject), subject), method)
    return made


# Two arguments swapped. Positions count from 0; the shapes fit, so nothing raises.

SWAPS: tuple[tuple[str, int, int, str], ...] = (
    ("q_sample", 0, 2, "FWD-1"),
    ("q_step", 0, 2, "FWD-3"),
    ("q_posterior", 0, 1, "POST-1"),
    ("predict_x_0", 0, 2, "CONV-1"),
    ("predict_eps", 0, 2, "CONV-1"),
    ("velocity", 0, 2, "CONV-1"),
    ("predict_x_0_from_v", 0, 2, "CONV-1"),
    ("score", 0, 2, "CONV-1"),
    ("p_mean_variance", 0, 2, "SMP-1.mean"),
    ("p_step", 0, 2, "SMP-1"),
    ("p_step", 2, 3, "SMP-2"),
    ("ddim_step", 0, 3, "SMP-6"),
    ("ddim_step", 3, 4, "SMP-6"),
    ("normal_kl", 1, 3, "KL-1"),
    ("decoder_log_likelihood", 0, 1, "DEC-1"),
    ("linear_loss_gradient", 1, 3, "GRD-1"),
)


def _swapped(method: str, i: int, j: int) -> Callable[..., Any]:
    def wrong(self: ReferenceSubject, *given: Any) -> Any:
        arguments = list(given)
        arguments[i], arguments[j] = arguments[j], arguments[i]
        return _right(self, method)(*arguments)

    return wrong


for _method, _i, _j, _check in SWAPS:
    _text = f"{_method} takes its arguments {_i} and {_j} for each other"
    _plant(f"{_method}:swapped {_i} {_j}", _text, (_check,), **{_method: _swapped(_method, _i, _j)})


# A result that went through a smaller type on its way out: a float64 subject that is none.

DOWNGRADES: tuple[tuple[str, str], ...] = (
    ("q_sample", "FWD-1"),
    ("q_step", "FWD-3"),
    ("q_posterior", "POST-1"),
    ("predict_x_0", "CONV-1"),
    ("predict_eps", "CONV-1"),
    ("velocity", "CONV-1"),
    ("predict_x_0_from_v", "CONV-1"),
    ("score", "CONV-1"),
    ("p_mean_variance", "SMP-1.mean"),
    ("p_step", "SMP-1"),
    ("ddim_step", "SMP-6"),
    ("linear_loss_gradient", "GRD-1"),
    ("normal_kl", "KL-1"),
    ("decoder_log_likelihood", "DEC-1"),
    ("ema", "EMA-1"),
    ("tables", "SCH-6"),
)


def _small(result: Any) -> Any:
    """`result` rounded to float32, with the type that it had."""
    if isinstance(result, tuple):
        return tuple(map(_small, result))
    if isinstance(result, dict):
        return {name: _small(value) for name, value in result.items()}
    return result.astype(np.float32).astype(result.dtype)


def _downgraded(method: str) -> Callable[..., Any]:
    def wrong(self: ReferenceSubject, *given: Any) -> Any:
        return _small(_right(self, method)(*given))

    return wrong


for _method, _check in DOWNGRADES:
    _text = f"{_method} passes through float32 although the subject is float64"
    _plant(f"{_method}:float32", _text, (_check,), **{_method: _downgraded(_method)})


# Reductions of the loss, and of its gradient.

REDUCTIONS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "summed": ("a sum over everything", lambda square: square.sum()),
    "over the batch": ("a sum over the pixels, a mean over the batch", lambda square: square.mean(axis=0).sum()),
    "over the pixels": (
        "a sum over the batch",
        lambda square: square.reshape(len(square), -1).mean(axis=1).sum(),
    ),
    "halved": ("half the mean square", lambda square: square.mean() / 2),
    "rooted": ("the root of the mean square", lambda square: np.sqrt(square.mean())),
    "first image": ("a mean over the first image only", lambda square: square[0].mean()),
    "last pixel": ("a mean over the last column only", lambda square: square[..., -1].mean()),
    "median": ("a median for the mean", np.median),
}


def _reduced(reduce: Callable[[Array], Array]) -> Callable[..., float]:
    def wrong(self: ReferenceSubject, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        output = eps_model(self.q_sample(x_0, t, eps), t)
        return float(reduce((self.target(x_0, t, eps) - output) ** 2))

    return wrong


for _form, (_text, _reduce) in REDUCTIONS.items():
    _plant(f"loss:{_form}", f"the loss is {_text}", ("LOS-2",), loss=_reduced(_reduce))

GRADIENTS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "doubled": ("doubled", lambda gradient: 2 * gradient),
    "negated": ("of the wrong sign", lambda gradient: -gradient),
    "transposed": ("transposed", lambda gradient: gradient.T.copy()),
    "detached": ("zero: the output was detached", lambda gradient: 0 * gradient),
    "first row": ("zero but for its first row", lambda gradient: gradient * (np.arange(len(gradient)) == 0)[:, None]),
}


def _other_gradient(change: Callable[[Array], Array]) -> Callable[..., Array]:
    def wrong(self: ReferenceSubject, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        return np.asarray(change(_right(self, "linear_loss_gradient")(w, x_0, t, eps)))

    return wrong


for _form, (_text, _change) in GRADIENTS.items():
    _plant(
        f"gradient:{_form}",
        f"the gradient of the loss is {_text}",
        ("GRD-1",),
        linear_loss_gradient=_other_gradient(_change),
    )


# The four terms of KL(N_1 || N_2) = (log v_2/v_1 − 1 + v_1/v_2 + (m_1 − m_2)²/v_2) / 2, each with a wrong weight.

KL_WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "without its log ratio": (0, 1, 1, 1),
    "without its -1": (1, 0, 1, 1),
    "without its ratio": (1, 1, 0, 1),
    "without its distance": (1, 1, 1, 0),
    "without its half": (2, 2, 2, 2),
    "with half its distance": (1, 1, 1, 0.5),
    "with its log ratio negated": (-1, 1, 1, 1),
    "off by 0.1 % in its distance": (1, 1, 1, 1.001),
}


def _weighted_kl(weights: tuple[float, float, float, float]) -> Callable[..., Array]:
    def wrong(self: ReferenceSubject, mean_1: Array, log_1: Array, mean_2: Array, log_2: Array) -> Array:
        terms = (log_2 - log_1, -1.0, np.exp(log_1 - log_2), (mean_1 - mean_2) ** 2 * np.exp(-log_2))
        return np.asarray(sum(w * term for w, term in zip(weights, terms, strict=True)) / 2, self.dtype)

    return wrong


for _form, _weights in KL_WEIGHTS.items():
    _plant(f"normal_kl:{_form}", f"the KL divergence is {_form}", ("KL-1",), normal_kl=_weighted_kl(_weights))


# A result that is computed and dropped, or a step that is left out.


def _dropped_step(self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
    (x,) = self._cast(x_T)
    for i, step in enumerate(range(self.num_timesteps - 1, -1, -1)):
        t = np.full(len(x), step)
        made = self.p_step(x, t, eps_model(x, t), z[i])
        x = x if step == self.num_timesteps // 2 else made
    return x


def _one_noise(self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
    return np.asarray(_right(self, "sample")(eps_model, x_T, np.broadcast_to(z[:1], z.shape).copy()))


def _stops_early(self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
    (x,) = self._cast(x_T)
    for i, step in enumerate(range(self.num_timesteps - 1, 0, -1)):
        t = np.full(len(x), step)
        x = self.p_step(x, t, eps_model(x, t), z[i])
    return x


def _starts_from_zero(self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
    return np.asarray(_right(self, "sample")(eps_model, np.zeros_like(x_T), z))


def _dropped_stride(
    self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float
) -> Array:
    def forgetful(x: Array, t: Array) -> Array:
        return np.asarray(eps_model(x, t) * (t[0] != self.timesteps(num_steps)[-1]))

    return np.asarray(_right(self, "sample_strided")(forgetful, x_T, z, num_steps, eta))


def _without_eta(
    self: ReferenceSubject, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float
) -> Array:
    return np.asarray(_right(self, "sample_strided")(eps_model, x_T, z, num_steps, 0 * eta))


_plant("sample:dropped", "one step of the loop is made and its result dropped", ("SMP-3",), sample=_dropped_step)
_plant("sample:one noise", "every step of the loop takes the first step's noise", ("SMP-3",), sample=_one_noise)
_plant("sample:stops early", "the loop ends at t = 1", ("SMP-3", "SMP-10"), sample=_stops_early)
_plant("sample:from zero", "the loop starts from zeros", ("SMP-3",), sample=_starts_from_zero)
_plant("strided:dropped", "the last prediction is dropped", ("STR-2",), sample_strided=_dropped_stride)
_plant("strided:no eta", "the strided loop does not hand on eta", ("STR-2",), sample_strided=_without_eta)


# The bound: its terms left out, counted twice, or put together wrongly.


def _other_terms(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[..., dict[str, Array]]:
    def wrong(self: ReferenceSubject, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms: dict[str, Array] = _right(self, "vlb_terms")(eps_model, x_0, eps)
        made = {**terms, **change(terms)}
        return made if "total" in change(terms) else {**made, "total": _total(made)}

    return wrong


def _total(terms: dict[str, Array]) -> Array:
    return np.asarray(terms["prior"] + terms["kl"].sum(axis=0) + terms["decoder"])


BOUNDS: dict[str, tuple[str, tuple[str, ...], Callable[[dict[str, Array]], dict[str, Array]]]] = {
    "kl backwards": ("lists its KL terms from T to 2", ("KL-4",), lambda terms: {"kl": terms["kl"][::-1].copy()}),
    "kl doubled": ("has its KL terms doubled", ("KL-4", "VLB-2"), lambda terms: {"kl": 2 * terms["kl"]}),
    "kl off": ("has KL terms off by 0.1 %", ("KL-4",), lambda terms: {"kl": 1.001 * terms["kl"]}),
    "prior twice": ("counts the prior term twice", ("VLB-2",), lambda terms: {"total": _total(terms) + terms["prior"]}),
    "prior off": ("has a prior term off by 1 %", ("KL-3",), lambda terms: {"prior": 1.01 * terms["prior"]}),
    "decoder negated": ("adds the decoder's log-likelihood", ("VLB-4",), lambda terms: {"decoder": -terms["decoder"]}),
    "mean for sum": (
        "averages the KL terms where it should add them",
        ("VLB-2",),
        lambda terms: {"total": terms["prior"] + terms["kl"].mean(axis=0) + terms["decoder"]},
    ),
    "mixed batch": (
        "averages each term over the batch",
        ("KL-4",),
        lambda terms: {"kl": np.broadcast_to(terms["kl"].mean(axis=1, keepdims=True), terms["kl"].shape).copy()},
    ),
}

for _form, (_text, _checks, _alter) in BOUNDS.items():
    _plant(f"bound:{_form}", f"the bound {_text}", _checks, vlb_terms=_other_terms(_alter))
