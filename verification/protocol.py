"""What the judge asks of a DDPM: NumPy in, NumPy out, and every random number an argument.

A subject is any object with the attributes of `Identity` and as many methods of `Subject` as it has; both describe, and
neither is a base class. Checks that need a method which is missing are skipped, and the skip names the method.

Conventions. `t` is a (B,) integer array of 0-based indices, so `t = 0` is the paper's t = 1. Images are (B, C, H, W) in
[-1, 1]; the methods that involve no network take any trailing shape (B, ...). Floating-point outputs have the subject's
`dtype` and the shape of the image argument, except where a line below says otherwise. No method changes its arguments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
EpsModel = Callable[[Array, Array], Array]  # (x_t (B, ...), t (B,)) -> eps_hat (B, ...)

MODES = ("graph", "pynative")  # how a framework with two execution modes may run a subject


class VerificationError(Exception):
    """A user's mistake in how the judge is asked: one sentence with what was given, expected, and to be done."""


class Identity(Protocol):
    """What every subject says of itself; plain attributes will do."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def dtype(self) -> str:
        """Of its floating-point results: "float64", "float32", "float16" or "bfloat16"."""

    @property
    def num_timesteps(self) -> int:
        """T."""

    @property
    def variance(self) -> str:
        """Of the reverse steps: "posterior" (fixed small) or "beta" (fixed large)."""

    @property
    def clip_x_0(self) -> bool:
        """Whether the reverse steps clip their estimate of x_0 to [-1, 1]."""

    @property
    def schedule(self) -> Mapping[str, Any] | None:
        """What it says its betas are, {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}; None: not declared."""


class Subject(Identity, Protocol):
    """A DDPM as the judge sees it. Equations are those of Ho, Jain and Abbeel 2020, arXiv 2006.11239."""

    def tables(self) -> dict[str, Array]:
        """The tables as stored, each (T,): `beta`, `alpha_bar` and any of those that follow from them."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, Eq. 4."""

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, Eq. 2."""

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        """Mean (B, ...) and variance (B, 1, ...) or (B, ...) of q(x_{t-1} | x_t, x_0), Eqs. 6-7."""

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        """The x_0 that with `eps` gives `x_t`; not clipped."""

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        """The eps that with `x_0` gives `x_t`."""

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        """The target of v-prediction, sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0."""

    def predict_x_0_from_v(self, x_t: Array, t: Array, v: Array) -> Array:
        """x_0 = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v; not clipped."""

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        """The gradient of log q(x_t | x_0), which is -eps / sqrt(1 - alpha_bar_t)."""

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        """Mean and variance of p(x_{t-1} | x_t), Eq. 11, clipped as configured; shapes as in `q_posterior`."""

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        """One ancestral step with the noise `z`, Algorithm 2; no noise at t = 0."""

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        """One step of Song et al. 2021, Eq. 12; `t_prev` is (B,), and -1 means "to x_0"."""

    def timesteps(self, num_steps: int) -> Array:
        """The (num_steps,) strictly decreasing 0-based indices that a strided sampler visits."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        """The whole of Algorithm 2; `z` is (T, *x_T.shape), and `z[i]` is the noise of the i-th step taken."""

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        """The whole strided DDIM loop; `z` is (num_steps, *x_T.shape)."""

    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        """L_simple on this batch, Eq. 14; the target is the one that `parameterization` names."""

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        """The gradient (D, D) of that loss for eps_model(x) = x @ w.T on data (B, D)."""

    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        """KL(N_1 || N_2), elementwise, in nats."""

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        """The discretised Gaussian of Eq. 13, elementwise, in nats."""

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        """Eq. 5 in bits/dim: `prior` (B,), `kl` (T-1, B), `decoder` (B,), `total` (B,); `eps` is (T, *x_0.shape)."""

    def draw_timesteps(self, n: int, seed: int) -> Array:
        """The (n,) 0-based time steps that training would draw."""

    def ema(self, values: Array, decay: float) -> Array:
        """The moving average (D,) after the sequence `values` (K, D), starting at `values[0]`."""

    network_config: Any

    def network(self, x: Array, t: Array) -> Array:
        """The U-Net on x (B, C, H, W)."""

    def weights(self) -> dict[str, Array]:
        """Every parameter of the network by name."""

    def network_gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        """The gradient of the mean squared error of `network(x, t)` against `target`, for every parameter."""

    # Optional, as everything above is, and of use to the judge only:

    parameterization: str  # what the model predicts: "eps" (also when absent), "x_0" or "v"

    def variant(self, **choices: Any) -> Subject:
        """The same implementation with other choices among `schedule` (a name), `num_timesteps`, `variance`,
        `clip_x_0`, `parameterization`, `dtype`; an impossible choice raises, and the message names the known ones.
        """  # fmt: skip

    def counterparts(self) -> dict[str, Subject]:
        """The same subject in other execution modes, by mode."""

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        """What the sampler draws for `seed` when it makes `shape[0]` images: x_T of `shape`, z (num_steps, *shape)."""

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        """What training on the images `x_0` (N, ...) draws in `num_steps` steps for `seed`: `x_0` (num_steps,
        batch_size, ...), `t` (num_steps, batch_size) 0-based, `eps` in the shape of `x_0`.
        """  # fmt: skip

    def network_with(self, weights: Mapping[str, Array], x: Array, t: Array) -> Array:
        """`network(x, t)` as it is with other `weights`, of the names and shapes of `weights()`; they are not kept."""

    def training_run(
        self,
        x_0: Array,
        t: Array,
        eps: Array,
        *,
        learning_rate: float,
        ema_decay: float,
        save_after: int | None = None,
    ) -> dict[str, Any]:
        """The network after K steps of training from its initial weights, one on each of K batches: `weights` and their
        moving `average`, parameter name to array, and `losses` (K,), each before its step.

        `x_0` (K, B, C, H, W), `t` (K, B) 0-based, `eps` like `x_0`; K may be 0. The optimiser is Adam with its authors'
        constants; nothing is dropped out, and no gradient is clipped. `ema_decay` is the average's decay after its
        warm-up, if it has one. With `save_after` (0 ... K - 1) steps taken, the run is written to a checkpoint, and a
        new trainer, which knows the checkpoint alone, goes on with it.
        """  # fmt: skip

    def to_uint8(self, x: Array) -> Array:
        """Images in [-1, 1] as uint8: -1, 0, 1 become 0, 128, 255, outside saturates, NaN raises."""

    def from_uint8(self, u: Array) -> Array:
        """uint8 images as floats in [-1, 1]; the inverse of `to_uint8`."""


@dataclass(frozen=True)
class SubjectSpec:
    """How a subject is made, in a form that fits on a command line: `module:factory` or
    `module:factory(name=literal, ...)`.

    `alone`: written with brackets even if there is nothing in them, `module:factory()`, which means the subject that
    the factory makes by default and not all those of the module's `GATE`.
    """  # fmt: skip

    reference: str
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False

    @property
    def text(self) -> str:
        """What `--subject` takes to make this subject again."""
        inside = ", ".join(f"{name}={_literal(value)}" for name, value in self.options.items())
        return f"{self.reference}({inside})" if inside or self.alone else self.reference

    @property
    def label(self) -> str:
        """The options alone, for a test's name; the reference when there are none."""
        return ",".join(f"{name}={value}" for name, value in self.options.items()) or self.reference

    def make(self) -> Subject:
        """The subject itself. Raises `VerificationError` when the factory does not take these options, or raises."""
        factory = load_factory(self.reference)
        try:
            inspect.signature(factory).bind(**self.options)
        except TypeError as error:
            raise VerificationError(
                f"--subject {self.text!r}: the factory cannot be called like that ({error}); "
                "give every required argument as name=value in brackets after its name"
            ) from None
        except ValueError:  # a built-in without a signature: the call itself will tell
            pass
        try:
            return cast("Subject", factory(**self.options))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise VerificationError(
                f"--subject {self.text!r}: making it raised {type(error).__name__}: {error} "
                f"({PurePath(place.filename).name}, line {place.lineno}); choose other options, or mend the factory"
            ) from error


def _literal(value: object) -> str:
    """`value` as Python writes it, but text in double quotes: a shell then needs only single ones around the whole."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def load_subject(text: str, **options: Any) -> Subject:
    """The subject that `module:factory` (or `module:factory(name=literal, ...)`) makes, with further `options`.

    Raises `VerificationError` if the text is not of that form, the module does not import, has no such factory, or
    the factory does not take the options or raises; what it raised is the error's cause.
    """
    spec = parse_spec(text)
    return SubjectSpec(spec.reference, {**spec.options, **options}).make()


def gate_specs(text: str, *, mode: str = "") -> list[SubjectSpec]:
    """The subjects that a run over `text` judges.

    One, unless the module has a tuple `GATE` of keyword dictionaries and `text` has no brackets: then one for each.
    `mode` ("graph", "pynative", "both") multiplies them if the factory has a parameter `mode`, and is
    otherwise without effect, because there is nothing to choose.
    """
    spec = parse_spec(text)
    factory = load_factory(spec.reference)
    gate: Sequence[Mapping[str, Any]] = getattr(_module(spec.reference), "GATE", ({},))
    choices = [spec.options] if spec.alone else list(gate)
    modes = _modes(mode) if mode and _takes(factory, "mode") and "mode" not in spec.options else [{}]
    alone = spec.alone or len(choices) > 1
    return [SubjectSpec(spec.reference, {**choice, **chosen}, alone) for chosen in modes for choice in choices]


def _modes(mode: str) -> list[dict[str, str]]:
    if mode not in (*MODES, "both"):
        raise VerificationError(f"unknown mode {mode!r}: known are {', '.join(MODES)} and both")
    return [{"mode": name} for name in (MODES if mode == "both" else (mode,))]


def _takes(factory: Callable[..., Any], parameter: str) -> bool:
    try:
        return parameter in inspect.signature(factory).parameters
    except ValueError:  # a built-in without a signature
        return False


def parse_spec(text: str) -> SubjectSpec:
    """Read `module:factory` or `module:factory(name=literal, ...)`; raises `VerificationError` on anything else."""
    reference, bracket, inside = text.partition("(")
    module, colon, factory = reference.partition(":")
    if not (colon and _is_dotted(module) and _is_dotted(factory)):
        raise VerificationError(
            f"--subject {text!r} is not of the form module:factory; give for instance "
            "verification.reference:ReferenceSubject"
        )
    return SubjectSpec(reference, _keywords(text, f"f({inside}") if bracket else {}, bool(bracket))


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _keywords(text: str, call: str) -> dict[str, Any]:
    try:
        node = ast.parse(call, mode="eval").body
        if not isinstance(node, ast.Call) or node.args:
            raise ValueError
        return {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    except (SyntaxError, ValueError):
        raise VerificationError(
            f"--subject {text!r}: what stands in brackets must be name=value pairs of literals, "
            "such as (schedule='cosine', num_timesteps=50)"
        ) from None


def load_factory(reference: str) -> Callable[..., Any]:
    """The callable that `module:factory` names; raises `VerificationError` if it cannot be had."""
    found: Any = _module(reference)
    for name in reference.partition(":")[2].split("."):
        if not hasattr(found, name):
            raise VerificationError(
                f"--subject {reference!r}: module {reference.partition(':')[0]!r} has no {name!r}; "
                "name a class or function that makes the subject"
            )
        found = getattr(found, name)
    if not callable(found):
        raise VerificationError(
            f"--subject {reference!r} is a {type(found).__name__}, not something that can be called; "
            "name a class or function that makes the subject"
        )
    return cast("Callable[..., Any]", found)


def _module(reference: str) -> Any:
    """The module, which may lie in the working directory: a script's path does not begin there, as `python -m` does."""
    name = reference.partition(":")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # at the end, so that nothing installed is hidden
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise VerificationError(
            f"--subject {reference!r}: module {name!r} does not import ({error}); "
            "check the spelling, or install what it needs into this Python"
        ) from None
    except Exception as error:
        raise VerificationError(
            f"--subject {reference!r}: importing {name!r} raised {type(error).__name__}: {error}; mend that module"
        ) from error


def dtype_of(subject: Identity) -> str:
    """The name of the subject's floating-point type, whether it says so with a string or a NumPy dtype."""
    return subject.dtype if subject.dtype == "bfloat16" else np.dtype(subject.dtype).name
