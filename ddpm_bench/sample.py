"""Samplers: from noise back to an image, one step of the reverse process after another.

| To find | Look at |
|---|---|
| Ho et al. 2020, Algorithm 2 | `ancestral` |
| Song et al. 2021 (DDIM), any number of steps, any eta | `ddim` |
| Ho et al. 2020, section 4.4, interpolation between two images | `interpolate` |

Each takes any callable `eps_model(x, t) -> eps_hat` on tensors, x and eps_hat (B, ...) and t (B,) int32, and a
`diffusion`: a `GaussianDiffusion`, or its `Compiled` form where speed matters. A network that predicts x_0 or v becomes
such a callable by `eps_predictor`.

Noise is an argument, too. Give `z`, or a `seed`, which may be a NumPy Generator: the same one gives the same images.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor

from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.schedule import strided_timesteps

Array: TypeAlias = "Tensor | npt.NDArray[Any]"
EpsModel = Callable[[Tensor, Tensor], Tensor]
Step = Callable[..., Tensor]
Progress = Callable[[int, int], None]
Seed = int | np.random.Generator


@dataclass(frozen=True)
class Samples:
    """What a sampler made: the images `x_0` (B, ...), and `frames`, which maps steps taken to x as it was then.

    `frames` is empty unless asked for; then the start (0 steps) and the result are among them, as NumPy arrays.
    """

    x_0: Tensor
    frames: dict[int, npt.NDArray[Any]] = field(default_factory=dict)


def ancestral(
    eps_model: EpsModel,
    diffusion: Any,
    x_T: Array,
    z: Array | None,
    *,
    seed: Seed = 0,
    keep_every: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Images from noise `x_T` by all T steps, Ho et al. 2020, Algorithm 2.

    `x_T`: (B, ...) standard normal. `z`: (T, B, ...) standard normal, z[i] for the i-th step taken (the last one adds
    none); None draws it from `seed`. `keep_every`: keep x after every so many steps. `progress`: called after each step
    with the steps taken and their total.

    Raises `ShapeError` if `z` does not fit, `ConfigError` for a negative `keep_every`.
    """
    timesteps = range(diffusion.num_timesteps - 1, -1, -1)
    record = _Record(len(timesteps), keep_every, progress)
    return _descend(eps_model, diffusion, _tensor(x_T, diffusion), timesteps, z, seed, record)


def ddim(
    eps_model: EpsModel,
    diffusion: Any,
    x_T: Array,
    z: Array | None,
    num_steps: int,
    eta: float = 0.0,
    *,
    seed: Seed = 0,
    keep_every: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Images from noise `x_T` by `num_steps` of the T steps, Song et al. 2021 (DDIM), Eq. 12.

    `num_steps`: 1...T, visiting `strided_timesteps`. `eta`: from 0 (the noise x_T decides the image) to 1 (as random as
    `ancestral`). `x_T`: (B, ...) standard normal. `z`: (num_steps, B, ...), z[i] for the i-th step taken; None draws it
    from `seed`. `keep_every`, `progress`: as in `ancestral`.

    Raises `ConfigError` for a `num_steps`, `eta` or `keep_every` out of range, `ShapeError` if `z` does not fit.
    """
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta is {eta}; give a number from 0 (no noise) to 1 (as much as ancestral sampling)")
    timesteps = strided_timesteps(diffusion.num_timesteps, num_steps).tolist()
    record = _Record(num_steps, keep_every, progress)
    x = record.started(_tensor(x_T, diffusion))
    exact_eta, step = Tensor(eta, ms.float64), ddim_step(eps_model, diffusion)
    for t, t_prev, z_t in zip(timesteps, [*timesteps[1:], -1], _noise(z, seed, num_steps, x), strict=True):
        x = step(x, _full(t, x), _full(t_prev, x), z_t, exact_eta)
        record.stepped(x)
    return Samples(x, record.frames)


def interpolate(
    eps_model: EpsModel,
    diffusion: Any,
    x_a: Array,
    x_b: Array,
    *,
    t: int,
    weights: Sequence[float],
    eps: tuple[Array, Array] | None = None,
    z: Array | None = None,
    seed: Seed = 0,
    keep_every: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Images between `x_a` and `x_b`: noise both to step `t`, mix linearly, sample back; Ho et al. 2020, section 4.4.

    The larger `t`, the less the results keep of the two. `x_a`, `x_b`: one image each, (C, H, W) in [-1, 1]. `t`:
    0-based. `weights`: (K,), the share of `x_b` in each result, 0 for `x_a`. `eps`: the noise of each, (C, H, W), the
    same for all weights, drawn from `seed` if None; give one array twice for shared noise. `z`: (t + 1, K, C, H, W).
    `z`, `keep_every` and `progress` as in `ancestral`. Returns K images.

    Raises `ConfigError` if `t` is outside 0...T-1 or `keep_every` negative, `ShapeError` if the arrays do not fit.
    """
    if not 0 <= t < diffusion.num_timesteps:
        raise ConfigError(f"t is {t}; give a time step from 0 to {diffusion.num_timesteps - 1}")
    rng = np.random.default_rng(seed)
    ends = _pair("images", x_a, x_b)
    noise = rng.standard_normal(ends.shape) if eps is None else _pair("noise", *eps)
    x_t = diffusion.q_sample(_tensor(ends, diffusion), _full(t, ends), _tensor(noise, diffusion)).asnumpy()
    share = np.reshape(np.asarray(weights, x_t.dtype), (-1,) + (1,) * (x_t.ndim - 1))
    mixed = _tensor((1 - share) * x_t[:1] + share * x_t[1:], diffusion)
    record = _Record(t + 1, keep_every, progress)
    return _descend(eps_model, diffusion, mixed, range(t, -1, -1), z, rng, record)


def eps_predictor(network: Callable[[Tensor, Tensor], Tensor], diffusion: Any) -> EpsModel:
    """The `network` as a callable that answers eps_hat, whatever parameterisation it was trained in."""

    def eps_model(x: Tensor, t: Tensor) -> Tensor:
        return diffusion.eps_from_output(network(x, t), x, t)

    return eps_model


def drawn_noise(rng: np.random.Generator, total: int, x: Tensor) -> Iterator[Tensor]:
    """The noise of `total` steps of `x`, each drawn from `rng` when it is asked for, in the shape and dtype of x."""
    return (Tensor(rng.standard_normal(x.shape), x.dtype) for _ in range(total))


def ancestral_step(eps_model: EpsModel, diffusion: Any) -> Step:
    """One step of `ancestral`: x_{t−1} from x_t (B, ...), t (B,) int32 and z like x_t, the network's part included."""
    return _step(_ancestral_step, eps_model, diffusion)


def ddim_step(eps_model: EpsModel, diffusion: Any) -> Step:
    """One step of `ddim`: x_{t_prev} from x_t (B, ...), t and t_prev (B,) int32, z like x_t, and eta () float64."""
    return _step(_ddim_step, eps_model, diffusion)


def _step(make: Callable[[EpsModel, Any], Step], eps_model: EpsModel, diffusion: Any) -> Step:
    if isinstance(diffusion, Compiled):
        return diffusion.step(make, eps_model)
    return make(eps_model, diffusion)


def _ancestral_step(eps_model: EpsModel, diffusion: Any) -> Step:
    def step(x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        return diffusion.p_step(x, t, eps_model(x, t), z)

    return step


def _ddim_step(eps_model: EpsModel, diffusion: Any) -> Step:
    def step(x: Tensor, t: Tensor, t_prev: Tensor, z: Tensor, eta: Tensor) -> Tensor:
        return diffusion.ddim_step(x, t, t_prev, eps_model(x, t), z, eta)

    return step


class Compiled:
    """A Cell whose methods are each compiled at their first use and kept; its attributes are the Cell's own.

    `compile`: makes the fast form of a method. A call with other shapes than before compiles anew. `whole`: a sampler's
    step is compiled with its eps_model as one graph, which that has to be made for: it calls no NumPy.
    """

    def __init__(
        self,
        cell: Any,
        compile: Callable[[Any], Any] = ms.jit,  # noqa: A002 - names what it does
        *,
        whole: bool = False,
    ) -> None:
        self._cell = cell
        self._compile = compile
        self._whole = whole
        self._steps: dict[tuple[Any, EpsModel], Step] = {}

    def step(self, make: Callable[[EpsModel, Any], Step], eps_model: EpsModel) -> Step:
        """The step that `make` makes of an `eps_model` and the Cell; compiled once for each model, if it is whole."""
        if not self._whole:
            return make(eps_model, self)
        if (make, eps_model) not in self._steps:
            self._steps[make, eps_model] = self._compile(make(eps_model, self._cell))
        return self._steps[make, eps_model]

    def __getattr__(self, name: str) -> Any:
        """The Cell's attribute `name`; Python asks only where it is not kept yet."""
        attribute = getattr(self._cell, name)
        result = self._compile(attribute) if inspect.ismethod(attribute) else attribute
        setattr(self, name, result)
        return result


def _descend(
    eps_model: EpsModel,
    diffusion: Any,
    x: Tensor,
    timesteps: Sequence[int],
    z: Array | None,
    seed: Seed,
    record: _Record,
) -> Samples:
    """The loop of Ho et al. 2020, Algorithm 2, over `timesteps`, which end at 0."""
    record.started(x)
    step = ancestral_step(eps_model, diffusion)
    for t, z_t in zip(timesteps, _noise(z, seed, len(timesteps), x), strict=True):
        x = step(x, _full(t, x), z_t)
        record.stepped(x)
    return Samples(x, record.frames)


class _Record:
    """Counts the steps of a run of `total`, keeps the frames asked for, and reports progress."""

    def __init__(self, total: int, keep_every: int, progress: Progress | None) -> None:
        if keep_every < 0:
            raise ConfigError(f"keep_every is {keep_every}; give 0 to keep nothing, or 1 or more to keep such steps")
        self.frames: dict[int, npt.NDArray[Any]] = {}
        self._total, self._every, self._progress = total, keep_every, progress
        self._taken = 0

    def started(self, x: Tensor) -> Tensor:
        """Note the `x` that a run starts from, and return it."""
        if self._every:
            self.frames[0] = x.asnumpy()
        return x

    def stepped(self, x: Tensor) -> None:
        """Note a step that led to `x`."""
        self._taken += 1
        if self._every and (self._taken % self._every == 0 or self._taken == self._total):
            self.frames[self._taken] = x.asnumpy()
        if self._progress is not None:
            self._progress(self._taken, self._total)


def _noise(z: Array | None, seed: Seed, total: int, x: Tensor) -> Iterator[Tensor]:
    """The noise of `total` steps of `x`: what is given, or one draw after another, so that only one is held."""
    if z is None:
        return drawn_noise(np.random.default_rng(seed), total, x)
    if tuple(z.shape) != (total, *x.shape):
        raise ShapeError(f"z has shape {tuple(z.shape)}; {total} steps of x {x.shape} need {(total, *x.shape)}")
    steps = _numpy(z)
    return (Tensor(steps[i], x.dtype) for i in range(total))


def _tensor(x: Array, diffusion: Any) -> Tensor:
    """`x` as a tensor of the process's dtype, rounded once if it comes as NumPy."""
    return x if isinstance(x, Tensor) else Tensor(x, diffusion.dtype)


def _numpy(x: Array) -> npt.NDArray[Any]:
    """`x` as a NumPy array."""
    array: npt.NDArray[Any] = x.asnumpy() if isinstance(x, Tensor) else np.asarray(x)
    return array


def _full(t: int, x: Array) -> Tensor:
    """The time step `t` for every sample of `x`, (B,) int32."""
    return Tensor(np.full(x.shape[0], t, np.int32))


def _pair(what: str, a: Array, b: Array) -> npt.NDArray[Any]:
    """`a` and `b` as a batch of two; `ShapeError` naming `what` unless they have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        raise ShapeError(f"two {what} of shapes {tuple(a.shape)} and {tuple(b.shape)}; give them one shape")
    return np.stack([_numpy(a), _numpy(b)])
