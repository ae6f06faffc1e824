"""The DDPM as a judge sees it: NumPy arrays in, NumPy arrays out, every random number an argument.

`MindSporeSubject` satisfies the Subject protocol of `verification` by its shape alone and knows nothing of the judge.
Every answer comes from the code that samples and trains; what is here converts arrays and refuses what the tensor
methods cannot, a time step outside 0...T-1 above all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Final

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, ops

from ddpm_bench import device, images, operators
from ddpm_bench.diffusion import GaussianDiffusion, check_batch
from ddpm_bench.errors import ConfigError, ShapeError, unknown_name
from ddpm_bench.likelihood import VariationalBound, decoder_log_likelihood, normal_kl, vlb_terms
from ddpm_bench.presets import PRESETS
from ddpm_bench.sample import Compiled, ancestral, ddim
from ddpm_bench.sample import EpsModel as TensorModel
from ddpm_bench.schedule import make_schedule, strided_timesteps
from ddpm_bench.subject_modes import EXECUTE, executable
from ddpm_bench.subject_network import GenericNetwork
from ddpm_bench.subject_random import RandomDraws
from ddpm_bench.subject_training import TrainingRuns
from ddpm_bench.unet import UNet

Array = npt.NDArray[Any]
EpsModel = Callable[[Array, Array], Array]

DTYPES: Final = {"float16": ms.float16, "float32": ms.float32, "float64": ms.float64}
"""Of the process; the network is float32 always, as MindSpore has no float64 convolution on CPU."""

GATE: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"variance": "beta", "clip_x_0": True},
    {"schedule": "cosine"},
)
"""The choices that are judged before a timing is believed; between them they reach every branch of the process."""

TABLES: Final = (
    "beta",
    "alpha",
    "alpha_bar",
    "alpha_bar_prev",
    "sqrt_alpha_bar",
    "sqrt_one_minus_alpha_bar",
    "posterior_variance",
    "posterior_log_variance",
    "posterior_coef_x_0",
    "posterior_coef_x_t",
)


class MindSporeSubject(RandomDraws, TrainingRuns):
    """The DDPM of this package with the given choices.

    `schedule`, `num_timesteps`: as `make_schedule` takes them. `variance`, `clip_x_0`, `parameterization`: as
    `GaussianDiffusion` does. `mode`: "graph" (every method through `mindspore.jit`), "pynative", or "whole_graph"
    (Cells under GRAPH_MODE). `dtype`: one of `DTYPES`. `preset`, `seed`: of the network and its random weights.

    Configures the device for this process, if nobody has and it is not too late. Raises `ConfigError` for a choice that
    does not exist.
    """

    process: ClassVar[type[GaussianDiffusion]] = GaussianDiffusion
    unet: ClassVar[type[UNet]] = UNet
    """The Cells that are judged; a planted mistake is a subclass of one in its place (`subject_mutants`)."""

    def __init__(
        self,
        schedule: str = "linear",
        num_timesteps: int = 1000,
        *,
        variance: str = "posterior",
        clip_x_0: bool = False,
        parameterization: str = "eps",
        mode: str = "graph",
        dtype: str = "float32",
        preset: str = "digits",
        seed: int = 0,
    ) -> None:
        for kind, given, known in (("mode", mode, EXECUTE), ("dtype", dtype, DTYPES), ("preset", preset, PRESETS)):
            if given not in known:
                raise unknown_name(kind, given, known)
        _settle_device()
        self._diffusion = self.process(
            make_schedule(schedule, num_timesteps),
            variance=variance,
            clip_x_0=clip_x_0,
            parameterization=parameterization,
            dtype=DTYPES[dtype],
        )
        self._choices: dict[str, Any] = {"schedule": schedule, "num_timesteps": num_timesteps, "variance": variance}
        self._choices |= {"clip_x_0": clip_x_0, "parameterization": parameterization, "dtype": dtype}
        self._setting: dict[str, Any] = {"mode": mode, "preset": preset, "seed": seed}
        self._process = Compiled(self._diffusion, EXECUTE[mode])
        clipped = " clipped" if clip_x_0 else ""
        self.name = f"mindspore {schedule}-{num_timesteps} {variance}{clipped} {parameterization} {dtype} {mode}"
        self.mode, self.dtype, self.parameterization = mode, dtype, parameterization
        self.num_timesteps, self.variance, self.clip_x_0 = num_timesteps, variance, clip_x_0
        self.schedule = self._diffusion.schedule.spec
        self._chosen_for = "pynative" if mode == "pynative" else "graph"

    def variant(self, **choices: Any) -> MindSporeSubject:
        """The same with other `schedule`, `num_timesteps`, `variance`, `clip_x_0`, `parameterization` or `dtype`.

        Raises `ConfigError` for a choice that does not exist, naming those that do.
        """
        for name in choices:
            if name not in self._choices:
                raise unknown_name("choice", name, self._choices)
        return self._made({**self._choices, **choices}, self._setting)

    def counterparts(self) -> dict[str, MindSporeSubject]:
        """The same in all modes, itself among them: "pynative", "jit" (mode "graph"), "graph" (mode "whole_graph").

        All have the operators that were chosen for this one's mode: what a mode changes is to be seen, and no more.
        """
        return {
            name: self if mode == self.mode else self._made(self._choices, {**self._setting, "mode": mode})
            for name, mode in (("pynative", "pynative"), ("jit", "graph"), ("graph", "whole_graph"))
        }

    def _made(self, choices: dict[str, Any], setting: dict[str, Any]) -> MindSporeSubject:
        """Another one like this, with its choice of operators."""
        made = type(self)(**choices, **setting)
        made._chosen_for = self._chosen_for
        return made

    def tables(self) -> dict[str, Array]:
        """The tables, (T,) each, as they meet the images: those the process keeps, and the others cast as it casts."""
        kept = {name: getattr(self._diffusion, name, None) for name in TABLES}
        schedule = self._diffusion.schedule
        return {
            name: getattr(schedule, name).astype(self.dtype) if table is None else table.asnumpy()
            for name, table in kept.items()
        }

    # Forward process and conversions

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        """x_t from x_0, Ho et al. 2020, Eq. 4. Arrays (B, ...), `t` (B,); so in all methods that follow."""
        return self._run("q_sample", x_0, self._steps(t), eps)

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        """x_t from x_{t-1}, Eq. 2."""
        return self._run("q_step", x_prev, self._steps(t), eps)

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        """Mean (B, ...) and variance (B, 1, ...) of q(x_{t-1} | x_t, x_0), Eqs. 6 and 7."""
        return self._run_pair("q_posterior", x_0, x_t, self._steps(t))

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        """Eq. 4 solved for x_0, not clipped."""
        return self._run("predict_x_0", x_t, self._steps(t), eps)

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        """Eq. 4 solved for eps."""
        return self._run("predict_eps", x_t, self._steps(t), x_0)

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        """Salimans & Ho 2022, section 4."""
        return self._run("velocity", x_0, self._steps(t), eps)

    def predict_x_0_from_v(self, x_t: Array, t: Array, v: Array) -> Array:
        """x_0 of a velocity, not clipped."""
        return self._run("predict_x_0_from_v", x_t, self._steps(t), v)

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        """Gradient of log q(x_t | x_0)."""
        return self._run("score", x_t, self._steps(t), eps)

    # Reverse process

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        """Mean (B, ...) and variance (B, 1, ...) of the reverse transition, Eq. 11."""
        return self._run_pair("p_mean_variance", x_t, self._steps(t), eps_hat)

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        """One step of Algorithm 2 with the noise `z`."""
        return self._run("p_step", x_t, self._steps(t), eps_hat, z)

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        """One step of DDIM, Song et al. 2021, Eq. 12; `t_prev` (B,) below t, -1 for x_0."""
        before, after = np.asarray(t), np.asarray(t_prev)
        if before.shape != after.shape or (after >= before).any():
            raise ConfigError(
                f"t_prev {after.tolist()} is not everywhere below t {before.tolist()}; give earlier steps"
            )
        if not 0 <= eta <= 1:
            raise ConfigError(f"eta is {eta}; give a number from 0 to 1")
        steps, steps_prev = self._steps(t), self._steps(t_prev, lowest=-1)
        return self._run("ddim_step", x_t, steps, steps_prev, eps_hat, z, Tensor(eta, ms.float64))

    def timesteps(self, num_steps: int) -> Array:
        """The (num_steps,) time steps of a strided sampler."""
        return strided_timesteps(self.num_timesteps, num_steps)

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        """The whole of Algorithm 2; `z` is (T, *x_T.shape)."""
        made = ancestral(self._model(eps_model), self._process, self._tensor(x_T), z)
        return self._array(made.x_0)

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        """The whole DDIM loop; `z` is (num_steps, *x_T.shape)."""
        made = ddim(self._model(eps_model), self._process, self._tensor(x_T), z, num_steps, eta)
        return self._array(made.x_0)

    # Training

    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        """L_simple, Eq. 14, of a model whose output stands for what `parameterization` names."""
        steps = self._steps(t)
        x_t = Tensor(self.q_sample(x_0, t, eps))
        output = self._model(eps_model)(x_t, steps)
        return float(self._process.loss(output, self._tensor(x_0), steps, self._tensor(eps)).asnumpy())

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        """Gradient (D, D) of that loss for the model x_t @ w.T on data (B, D), by MindSpore's own differentiation."""
        steps = self._steps(t)
        check_batch(steps.shape, steps.dtype, (np.shape(x_0), np.shape(eps)))
        if np.shape(w) != 2 * np.shape(x_0)[1:]:
            raise ShapeError(f"w has shape {np.shape(w)} for data of shape {np.shape(x_0)}; give (D, D) for (B, D)")
        return self._array(self._linear_gradient(self._tensor(w), self._tensor(x_0), steps, self._tensor(eps)))

    @functools.cached_property
    def _linear_gradient(self) -> Callable[..., Tensor]:
        diffusion = self._diffusion

        def loss(w: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
            output = ops.matmul(diffusion.q_sample(x_0, t, eps), ops.transpose(w, (1, 0)))
            return diffusion.loss(output, x_0, t, eps)

        differentiate = ms.grad(loss)

        def gradient(w: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
            return differentiate(w, x_0, t, eps)

        return executable(gradient, self.mode)

    def ema(self, values: Array, decay: float) -> Array:
        """The moving average (D,) after `values` (K, D), by the update that training makes."""
        from ddpm_bench.train_step import moving_average

        update = executable(moving_average, self.mode)
        average, rate = self._tensor(values[0]), self._tensor(decay)
        for value in values[1:]:
            average = update(average, self._tensor(value), rate)
        return self._array(average)

    # Likelihood

    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        """KL(N_1 || N_2), elementwise, in nats."""
        return self._elementwise(normal_kl, mean_1, log_variance_1, mean_2, log_variance_2)

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        """The discretised Gaussian of Eq. 13, elementwise, in nats."""
        return self._elementwise(decoder_log_likelihood, x_0, mean, log_scale)

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        """Eq. 5 in bits/dim: `prior` (B,), `kl` (T-1, B), `decoder` (B,), `total` (B,); `eps` is (T, *x_0.shape)."""
        x_0, eps = np.asarray(x_0, self.dtype), np.asarray(eps, self.dtype)
        return dict(vars(vlb_terms(self._model(eps_model), self._bound, x_0, eps)))

    @functools.cached_property
    def _bound(self) -> Compiled:
        return Compiled(VariationalBound(self._diffusion), EXECUTE[self.mode])

    # Images and the network

    def to_uint8(self, x: Array) -> Array:
        """Images in [-1, 1] as 8-bit pixels."""
        return images.to_uint8(x)

    def from_uint8(self, u: Array) -> Array:
        """8-bit pixels as numbers in [-1, 1]."""
        return images.from_uint8(u, dtype=self.dtype)

    @property
    def network_config(self) -> dict[str, Any]:
        """The fields of the network's `UNetConfig`."""
        return self._network.config

    def network(self, x: Array, t: Array) -> Array:
        """The U-Net's eps_hat for `x` (B, C, H, W) at `t` (B,): computed in float32, given as `dtype`."""
        return self._network(x, t).astype(self.dtype)

    def network_with(self, weights: dict[str, Array], x: Array, t: Array) -> Array:
        """The same with other `weights` in the place of its own, of the same names and shapes."""
        return self._network.at(weights, x, t).astype(self.dtype)

    def weights(self) -> dict[str, Array]:
        """Every parameter of the network, by name: random, none at its neutral value."""
        return self._network.weights()

    def initial_weights(self) -> dict[str, Array]:
        """The parameters that training would start from."""
        return dict(self._network.initial_weights)

    def network_gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        """Gradient of the mean squared error of `network(x, t)` against `target`, for every parameter, as `dtype`."""
        gradient = self._network.gradient(x, t, target)
        return {name: values.astype(self.dtype) for name, values in gradient.items()}

    @property
    def _network(self) -> GenericNetwork:
        ways = operators.current(device.current_device(), self._chosen_for).for_narrow()
        made = (self._setting["preset"], self._setting["seed"], self.mode, ways)
        return _network(self.unet, *made)  # type: ignore[arg-type]  # mypy looks for __hash__ in UNet, not in its class

    # From NumPy to tensors and back

    def _run(self, method: str, *args: Array | Tensor) -> Array:
        return self._array(self._called(method, args))

    def _run_pair(self, method: str, *args: Array | Tensor) -> tuple[Array, Array]:
        first, second = self._called(method, args)
        return self._array(first), self._array(second)

    def _called(self, method: str, args: tuple[Array | Tensor, ...]) -> Any:
        """The method of the process on `args`: arrays, and the tensors of time steps among them.

        Shapes are checked here first: a failure inside a graph's compilation also leaves a folder `rank_0` behind.
        """
        steps = next(arg for arg in args if isinstance(arg, Tensor))
        check_batch(steps.shape, steps.dtype, tuple(np.shape(arg) for arg in args if not isinstance(arg, Tensor)))
        return getattr(self._process, method)(*(arg if isinstance(arg, Tensor) else self._tensor(arg) for arg in args))

    def _elementwise(self, function: Callable[..., Tensor], *arrays: Array) -> Array:
        shapes = {np.shape(array) for array in arrays}
        if len(shapes) != 1:
            raise ShapeError(f"arrays of shapes {', '.join(map(str, shapes))} cannot be combined; give them one shape")
        return self._array(executable(function, self.mode)(*map(self._tensor, arrays)))

    def _steps(self, t: Array, *, lowest: int = 0) -> Tensor:
        """`t` as a tensor. MindSpore would take -1 for the last table entry; here it raises `ConfigError`."""
        steps = np.asarray(t)
        if not np.issubdtype(steps.dtype, np.integer):
            raise ShapeError(f"t has dtype {steps.dtype}; give whole-number time steps")
        if steps.size and not lowest <= steps.min() <= steps.max() < self.num_timesteps:
            raise ConfigError(
                f"t goes from {steps.min()} to {steps.max()}; it must stay in {lowest}...{self.num_timesteps - 1}"
            )
        return Tensor(steps.astype(np.int32))

    def _tensor(self, x: Array | float) -> Tensor:
        return Tensor(np.asarray(x, self.dtype))

    def _array(self, x: Tensor) -> Array:
        array: Array = x.asnumpy()
        return array

    def _model(self, eps_model: EpsModel) -> TensorModel:
        """A callable on NumPy arrays as one on tensors. It gets copies: what it does to them stays its own affair."""

        def call(x: Tensor, t: Tensor) -> Tensor:
            answer = np.asarray(eps_model(np.array(x.asnumpy()), np.array(t.asnumpy())))
            if answer.shape != x.shape:
                raise ShapeError(
                    f"the model answered shape {answer.shape} to x of shape {x.shape}; they must be the same"
                )
            return self._tensor(answer)

        return call


def _settle_device() -> None:
    """The settings that make PyNative fast and change no result, unless the caller has chosen already."""
    if not device.settings():
        # MindSpore takes no settings once it has computed something. Then it goes on as it is, correct and slower.
        with contextlib.suppress(RuntimeError):
            device.configure()


@functools.cache
def _network(unet: type[UNet], name: str, seed: int, mode: str, ways: operators.Operators) -> GenericNetwork:
    """One network for all subjects that would have the same."""
    return GenericNetwork(name, seed, EXECUTE[mode], unet=unet, ways=ways)
