"""Images from a trained network: what `ddpm-bench sample` does, and the look that training takes at its end.

The samplers themselves are in `sample.py`; here weights, process and noise are brought together. Images are made in
batches of a fixed size, because a new shape would be compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mindspore import Tensor, ops
from numpy.typing import NDArray

from ddpm_bench import checkpoint, sample
from ddpm_bench.checkpoint import Arrays
from ddpm_bench.config import TrainConfig
from ddpm_bench.device import compiled
from ddpm_bench.errors import ConfigError, unknown_name
from ddpm_bench.files import output_folder
from ddpm_bench.images import write_grid, write_images
from ddpm_bench.progress import Pace, Report
from ddpm_bench.schedule import strided_timesteps

SAMPLERS = ("ddpm", "ddim")
"""All T steps of Ho et al. 2020, Algorithm 2, or the deterministic chain of Song et al. 2021 (DDIM, eta = 0)."""

BATCH = 100
"""Images made at a time."""


@dataclass(frozen=True)
class Generated:
    """The `images` (count, C, H, W) float32, in about [−1, 1], and the files that show them."""

    images: NDArray[np.float32]
    grid: Path
    files: list[Path]


def generate(
    file: Path | str,
    out: Path | str,
    *,
    count: int = 64,
    sampler: str = "ddpm",
    steps: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Generated:
    """Sample `count` images from the moving average in the checkpoint `file`; write `grid.png` and `images/` to `out`.

    `sampler`, `steps`, `seed`, `report` as in `samples`. Raises `ConfigError` as `checkpoint.load` and `samples` do,
    when `out` cannot be written, and when it holds samples already.
    """
    saved = checkpoint.load(file)
    steps = _checked(saved.config, count, sampler, steps)
    folder = output_folder(out)
    if (folder / "grid.png").exists() or (folder / "images").exists():
        raise ConfigError(f"{out} already holds samples: name another folder with --out")
    images = samples(saved.config, saved.average, count, sampler=sampler, steps=steps, seed=seed, report=report)
    return Generated(images, write_grid(folder / "grid.png", images), write_images(folder / "images", images))


def samples(
    config: TrainConfig,
    weights: Arrays,
    count: int,
    *,
    sampler: str = "ddpm",
    steps: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> NDArray[np.float32]:
    """`count` images (count, C, H, W) float32 from the network of `config` with these `weights`.

    `sampler`: one of `SAMPLERS`. `steps`: how many of the T steps to take, by default all; "ddpm" then runs the process
    that is seen at those steps alone (Nichol & Dhariwal 2021, section 4). `report` is told of every step. The same
    arguments give the same images.

    Raises `ConfigError` for an unknown sampler, a number of images or steps out of range, and weights that do not fit.
    """
    steps = _checked(config, count, sampler, steps)
    chain = _chain(config, weights, sampler, steps)
    shape = (config.network.in_channels, config.network.image_size, config.network.image_size)
    pace = Pace(report, -(-count // BATCH) * steps)
    made: list[NDArray[np.float32]] = []
    for index, (x_T, rng) in enumerate(batches(count, shape, seed)):
        progress = _offset(pace, index * steps)
        made.append(chain(x_T, seed=rng, progress=progress).x_0.asnumpy())
    images: NDArray[np.float32] = np.concatenate(made)[:count]
    return images


def _checked(config: TrainConfig, count: int, sampler: str, steps: int | None) -> int:
    """The number of steps to take. Raises `ConfigError` for what nobody can sample."""
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if count < 1:
        raise ConfigError(f"the number of images is {count}, expected at least 1")
    steps = config.diffusion.num_timesteps if steps is None else steps
    strided_timesteps(config.diffusion.num_timesteps, steps)  # raises for a number out of range
    return steps


def batches(count: int, shape: tuple[int, ...], seed: int) -> Iterator[tuple[NDArray[np.float32], np.random.Generator]]:
    """How `samples` begins each of the batches that make `count` images of `shape` from `seed`.

    Yields x_T (B, *shape) and the generator from which that batch's chain draws on. B is the same for all, at most
    `BATCH`; the last batch makes some images too many.
    """
    size = min(count, BATCH)
    for index in range(-(-count // size)):
        rng = np.random.default_rng([seed, index])
        yield rng.standard_normal((size, *shape), dtype=np.float32), rng


def _offset(pace: Pace, before: int) -> Callable[[int, int], None]:
    return lambda taken, _: pace.at(before + taken)


def _chain(config: TrainConfig, weights: Arrays, sampler: str, steps: int) -> Callable[..., sample.Samples]:
    """The chosen chain, from noise x_T to `Samples`, compiled if the run is."""
    network: Callable[[Tensor, Tensor], Tensor] = checkpoint.network(config, weights)
    timesteps = strided_timesteps(config.diffusion.num_timesteps, steps)
    respaced = sampler == "ddpm" and steps < config.diffusion.num_timesteps
    diffusion = config.diffusion.build(timesteps=timesteps if respaced else None)
    if respaced:
        network = _renumbered(network, timesteps)
    predict = sample.eps_predictor(network, diffusion)
    process = sample.Compiled(diffusion, lambda step: compiled(step, config.mode), whole=True)
    if sampler == "ddim":
        return lambda x_T, **options: sample.ddim(predict, process, x_T, None, steps, **options)
    return lambda x_T, **options: sample.ancestral(predict, process, x_T, None, **options)


def _renumbered(
    network: Callable[[Tensor, Tensor], Tensor], timesteps: NDArray[np.int64]
) -> Callable[[Tensor, Tensor], Tensor]:
    """The `network`, asked by the position of a time step among the decreasing `timesteps`, counted from the last."""
    original = Tensor(timesteps[::-1].astype(np.int32))

    def renumbered(x: Tensor, t: Tensor) -> Tensor:
        return network(x, ops.gather(original, t, 0))

    return renumbered
