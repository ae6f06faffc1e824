"""Wrong versions of this DDPM, for judging the judge: each makes one mistake that MindSpore code is prone to.

A mistake planted in the NumPy reference shows that a check can see it; one planted here, that it sees it through
tensors, rounding to float32 and MindSpore's own operators. A wrong subject is `MindSporeSubject` with one of its Cells,
`process` or `unet`, or one of its methods replaced; the networks are in `subject_mutants_network`, training runs in
`subject_mutants_training`. They run in PyNative mode on short chains, which takes milliseconds a check.

`load_mutants() -> {id: mutant}` is what `ddpm-bench verify --self-test` asks of such a module. A mutant has an `id`,
the `mistake` in words, the names of the checks that must notice it, `killed_by`, and makes itself; `right` makes the
same subject without the mistake. Nothing here knows the checks.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from ddpm_bench import likelihood, train_step
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ConfigError
from ddpm_bench.subject import Array, EpsModel, MindSporeSubject

CHOICES: dict[str, Any] = {"mode": "pynative", "num_timesteps": 50}
"""Of every wrong subject and its right counterpart."""


@dataclass(frozen=True)
class SubjectMutant:
    """`subject` made with `choices` is wrong as `mistake` says, and the checks `killed_by` must notice."""

    id: str
    mistake: str
    killed_by: tuple[str, ...]
    subject: type[MindSporeSubject]
    choices: dict[str, Any]

    def make(self) -> MindSporeSubject:
        """The wrong subject."""
        return self.subject(**{**CHOICES, **self.choices})

    def right(self) -> MindSporeSubject:
        """The same without the mistake."""
        return MindSporeSubject(**{**CHOICES, **self.choices})

    @property
    def control(self) -> str:
        """Equal for mutants whose `right` subjects are."""
        return str(sorted(self.choices.items()))


MUTANTS: dict[str, SubjectMutant] = {}


def wrong_subject(
    id: str,  # noqa: A002 - the field's name
    mistake: str,
    *killed_by: str,
    **choices: Any,
) -> Callable[[type[MindSporeSubject]], type[MindSporeSubject]]:
    """Register a subclass of `MindSporeSubject` as the mutant `id`."""

    def register(subject: type[MindSporeSubject]) -> type[MindSporeSubject]:
        if id in MUTANTS:
            raise ConfigError(f"the mutant {id!r} exists already; give it another id")
        MUTANTS[id] = SubjectMutant(id, mistake, killed_by, subject, choices)
        return subject

    return register


def wrong_process(
    id: str,  # noqa: A002 - the field's name
    mistake: str,
    *killed_by: str,
    **choices: Any,
) -> Callable[[type[GaussianDiffusion]], type[GaussianDiffusion]]:
    """Register a subclass of `GaussianDiffusion`: the subject made of it is the mutant `id`."""

    def register(process: type[GaussianDiffusion]) -> type[GaussianDiffusion]:
        subject = type(f"{process.__name__}Subject", (MindSporeSubject,), {"process": process})
        wrong_subject(id, mistake, *killed_by, **choices)(subject)
        return process

    return register


def load_mutants() -> dict[str, SubjectMutant]:
    """All of them, by id."""
    for part in ("network", "training"):  # each registers its own, by what it imports from here
        importlib.import_module(f"ddpm_bench.subject_mutants_{part}")
    return MUTANTS


# Tables.


@wrong_process("S01", "the tables are kept in float16", "FWD-1", "SCH-6", "SMP-1")
class HalfTables(GaussianDiffusion):
    def _cast(self, table: Array) -> Tensor:
        return Tensor(table.astype(np.float16), self.dtype)


@wrong_process("S02", "1 - alpha_bar is formed in float32", "FWD-1", "SCH-6")
class SinglePrecision(GaussianDiffusion):
    def _make_forward_tables(self) -> None:
        super()._make_forward_tables()
        self.sqrt_one_minus_alpha_bar = ops.sqrt(1 - Tensor(self.schedule.alpha_bar, ms.float32))


@wrong_process("S03", "the posterior's alpha_bar_prev wraps around at t = 0", "POST-1", "SCH-6")
class WrappedPrevious(GaussianDiffusion):
    def _make_reverse_tables(self) -> None:
        super()._make_reverse_tables()
        s = self.schedule
        self.posterior_coef_x_0 = self._cast(np.sqrt(np.roll(s.alpha_bar, 1)) * s.beta / s.one_minus_alpha_bar)


@wrong_process("S04", "the posterior's coefficients are swapped", "POST-1", "SCH-7")
class SwappedCoefficients(GaussianDiffusion):
    def _make_reverse_tables(self) -> None:
        super()._make_reverse_tables()
        self.posterior_coef_x_0, self.posterior_coef_x_t = self.posterior_coef_x_t, self.posterior_coef_x_0


@wrong_process("S05", "beta is promised as variance and the posterior's delivered", "SMP-1.mean", variance="beta")
class OtherVariance(GaussianDiffusion):
    def _make_reverse_tables(self) -> None:
        super()._make_reverse_tables()
        self.reverse_variance = self._cast(np.append(self.schedule.beta[0], self.schedule.posterior_variance[1:]))


@wrong_process("S06", "noise is added in the last step", "SMP-2")
class NoiseAtLastStep(GaussianDiffusion):
    def _make_reverse_tables(self) -> None:
        super()._make_reverse_tables()
        self.sigma = ops.sqrt(self.reverse_variance)


@wrong_process("S07", "the variance stands where its root belongs", "SMP-2")
class NoRootInStep(GaussianDiffusion):
    def _make_reverse_tables(self) -> None:
        super()._make_reverse_tables()
        self.sigma = ops.concat((ops.zeros((1,), self.dtype), self.reverse_variance[1:]))


# Methods of the process.


@wrong_process("S08", "q_sample lacks the root of alpha_bar", "FWD-1", "LOS-1")
class NoRootOfSignal(GaussianDiffusion):
    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        signal = self._at(self.sqrt_alpha_bar, t, x_0)
        return signal * signal * x_0 + self._at(self.sqrt_one_minus_alpha_bar, t, eps) * eps


@wrong_process("S09", "t is broadcast over the last axis", "FWD-2", "FWD-6")
class LastAxis(GaussianDiffusion):
    def _at(self, table: Tensor, t: Tensor, x: Tensor) -> Tensor:
        entries = ops.gather(table, t, 0)
        return entries if x.shape[-1] == x.shape[0] else super()._at(table, t, x)


@wrong_process("S10", "every image of a batch takes the first one's t", "FWD-1", "FWD-2")
class FirstOfBatch(GaussianDiffusion):
    def _at(self, table: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return super()._at(table, ops.zeros_like(t) + t[0], x)


@wrong_process("S11", "x_0 is clipped and the result discarded", "SMP-7", clip_x_0=True)
class DiscardedClip(GaussianDiffusion):
    def p_mean_variance(self, x_t: Tensor, t: Tensor, eps_hat: Tensor) -> tuple[Tensor, Tensor]:
        return self.q_posterior(self.predict_x_0(x_t, t, eps_hat), x_t, t)[0], self._at(self.reverse_variance, t, x_t)


@wrong_process("S12", "t_prev = -1 reads the last entry, as gather does", "SMP-6")
class WrappedGather(GaussianDiffusion):
    def _ddim_coefficients(self, t: Tensor, t_prev: Tensor, eta: Any) -> tuple[Tensor, Tensor, Tensor]:
        wrapped = ops.where(t_prev < 0, ops.zeros_like(t_prev) + self.num_timesteps - 1, t_prev)
        return super()._ddim_coefficients(t, wrapped, eta)


@wrong_process("S13", "DDIM's sigma lacks its root", "SMP-6", "STR-3")
class NoRootOfSigma(GaussianDiffusion):
    def _ddim_coefficients(self, t: Tensor, t_prev: Tensor, eta: Any) -> tuple[Tensor, Tensor, Tensor]:
        signal, direction, sigma = super()._ddim_coefficients(t, t_prev, eta)
        return signal, direction, sigma * sigma


@wrong_process("S14", "v has the sign of its second term flipped", "CONV-1", "CONV-3")
class VelocitySign(GaussianDiffusion):
    def velocity(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return super().velocity(-x_0, t, eps)


@wrong_process("S15", "the loss is a sum", "LOS-2", "GRD-1")
class SummedLoss(GaussianDiffusion):
    def loss(self, output: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return ops.sum(ops.square(self.target(x_0, t, eps) - output))


@wrong_process("S16", "the loss crosses the batch: (B, 1) against (B,)", "LOS-1", "GRD-1")
class CrossedBatch(GaussianDiffusion):
    def loss(self, output: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return ops.mean(ops.square(self.target(x_0, t, eps).expand_dims(1) - output.expand_dims(0)))


@wrong_process("S17", "the output is detached from its loss", "GRD-1")
class Detached(GaussianDiffusion):
    def loss(self, output: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return super().loss(ops.stop_gradient(output), x_0, t, eps)


@wrong_process("S18", "the target is other noise than x_t has", "LOS-1", "GRD-1")
class OtherNoise(GaussianDiffusion):
    def target(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return super().target(x_0, t, ops.flip(eps, (0,)))


# What a call leaves behind, and modes that disagree.


@wrong_subject("S19", "q_sample overwrites its input", "FWD-1")
class InPlace(MindSporeSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        made = super().q_sample(x_0, t, eps)
        x_0[...] = made
        return made


@wrong_subject("S20", "a step draws its noise from MindSpore's generator", "MODE-3", "SMP-2")
class OwnNoise(MindSporeSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return super().p_step(x_t, t, eps_hat, ops.standard_normal(np.shape(z)).asnumpy())


@wrong_subject("S21", "a step depends on how many were taken before", "MODE-3")
class Counting(MindSporeSubject):
    taken = 0

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        self.taken += 1
        return super().p_step(x_t, t, eps_hat, z) * np.float32(1 + 1e-6 * self.taken)


class OtherStep(GaussianDiffusion):
    """The step with its products taken in another order."""

    def p_step(self, x_t: Tensor, t: Tensor, eps_hat: Tensor, z: Tensor) -> Tensor:
        return self.p_mean_variance(x_t, t, eps_hat)[0] + self._at(ops.sqrt(self.reverse_variance), t, z) * z


class OtherMode(MindSporeSubject):
    """As another execution mode would be with kernels of its own."""

    process = OtherStep


@wrong_subject("S22", "graph and PyNative mode disagree in a step", "MODE-1")
class TwoModes(MindSporeSubject):
    def counterparts(self) -> dict[str, MindSporeSubject]:
        return {"pynative": self, "jit": OtherMode(**self._choices, **self._setting)}


# Loops, likelihood, training aids.


@wrong_subject("S23", "the model is told t - 1", "SMP-3", "LOS-1")
class ModelToldLess(MindSporeSubject):
    def _model(self, eps_model: EpsModel) -> Any:
        return super()._model(lambda x, t: eps_model(x, np.maximum(t - 1, 0)))


@wrong_subject("S24", "a time step of -1 is taken for the last", "FWD-1")
class Unrefused(MindSporeSubject):
    def _steps(self, t: Array, *, lowest: int = 0) -> Tensor:
        return super()._steps(np.asarray(t) - 1, lowest=min(lowest, -1))


@wrong_subject("S25", "the strided sampler neither starts at T - 1 nor ends at 0", "STR-1", "STR-4")
class LeadingSteps(MindSporeSubject):
    def timesteps(self, num_steps: int) -> Array:
        return self.num_timesteps // num_steps * np.arange(num_steps)[::-1]


@wrong_subject("S26", "KL arguments are swapped", "KL-1", "KL-2")
class SwappedKL(MindSporeSubject):
    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        return super().normal_kl(mean_2, log_variance_2, mean_1, log_variance_1)


@contextlib.contextmanager
def patched(module: Any, **names: Any) -> Iterator[None]:
    """Other values for names of a module, inside the block."""
    with patch.multiple(module, **names):
        yield


class OtherBins(MindSporeSubject):
    """A decoder whose constants are others."""

    constants: dict[str, float] = {}  # noqa: RUF012 - a class's own constant

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        with patched(likelihood, **self.constants):
            return super().decoder_log_likelihood(x_0, mean, log_scale)

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        with patched(likelihood, **self.constants):
            return super().vlb_terms(eps_model, x_0, eps)


@wrong_subject("S27", "half a bin is 1/256", "DEC-1", "DEC-2", "VLB-4")
class NarrowBins(OtherBins):
    constants = {"HALF_BIN": 1 / 256}  # noqa: RUF012 - as above


@wrong_subject("S28", "the end bins are not open", "DEC-1", "DEC-2")
class ClosedBins(OtherBins):
    constants = {"LAST_LEVEL": 2.0}  # noqa: RUF012 - as above


@wrong_subject("S29", "nats for bits", "KL-3", "DEC-5")
class NatsForBits(MindSporeSubject):
    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        with patched(likelihood, bits_per_dim=lambda nats, num_dims: nats / num_dims):
            return super().vlb_terms(eps_model, x_0, eps)


@wrong_subject("S30", "decay and 1 - decay are swapped in the moving average", "EMA-1")
class SwappedDecay(MindSporeSubject):
    def ema(self, values: Array, decay: float) -> Array:
        with patched(train_step, moving_average=lambda average, value, rate: rate * value + (1 - rate) * average):
            return super().ema(values, decay)


@wrong_subject("S31", "the last time step is never drawn", "SCH-1")
class NeverTheLast(MindSporeSubject):
    def draw_timesteps(self, n: int, seed: int) -> Array:
        return np.minimum(super().draw_timesteps(n, seed), self.num_timesteps - 2)


@wrong_subject("S32", "grey levels are divided by 256", "TRN-3")
class DividedBy256(MindSporeSubject):
    def from_uint8(self, u: Array) -> Array:
        return np.asarray(u / 128 - 1, self.dtype)


@wrong_subject("S33", "images are truncated to grey levels", "IMG-1")
class TruncatedImages(MindSporeSubject):
    def to_uint8(self, x: Array) -> Array:
        return super().to_uint8(x - np.asarray(1 / 255, x.dtype))


@wrong_subject("S34", "unknown names are accepted", "NAM-1")
class AnyName(MindSporeSubject):
    def variant(self, **choices: Any) -> MindSporeSubject:
        try:
            return super().variant(**choices)
        except ConfigError:
            return self
