"""Images between three worlds: the model's numbers in [−1, 1], 8-bit pixels, and PNG files.

Ho et al. 2020, section 3.3: pixels {0, 1, …, 255} are scaled linearly to [−1, 1], so that 0 is −1 and 255 is 1, and one
step of a pixel is 2/255. Back again every value goes to the nearest pixel, halves upwards; what lies outside saturates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.files import output_folder, replacing

UInt8 = NDArray[np.uint8]

BACKGROUND = 64
"""Pixel value between the tiles of a grid: neither black nor white, so that tiles of both are seen to end."""


def from_uint8(pixels: UInt8, *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Pixels 0…255 as numbers in [−1, 1]: u · 2/255 − 1 (Ho et al. 2020, section 3.3).

    `pixels`: any shape, uint8. Returns the same shape as `dtype`, computed in float64 and cast once.
    Raises `ShapeError` if `pixels` is not uint8.
    """
    if pixels.dtype != np.uint8:
        raise ShapeError(f"pixels are {pixels.dtype}, expected uint8 with values 0…255")
    return (pixels.astype(np.float64) * 2 / 255 - 1).astype(dtype)


def to_uint8(images: NDArray[Any]) -> UInt8:
    """Numbers in [−1, 1] as pixels 0…255: the nearest, halves upwards, so −1, 0, 1 become 0, 128, 255.

    `images`: any shape, floating point; values outside saturate. Inverts `from_uint8` for all 256 values, in float16
    too, whose rounding of at most 2^-12 in [−1, 1] is far below half a pixel's step, 1/255.
    Raises `ConfigError` for NaN, which is no colour.
    """
    scaled = (np.asarray(images, dtype=np.float64) + 1) * 127.5
    if np.isnan(scaled).any():
        count = int(np.isnan(scaled).sum())
        raise ConfigError(f"{count} of {scaled.size} pixels are NaN: expected numbers, nominally in [-1, 1]")
    nearest: UInt8 = np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
    return nearest


def grid(images: NDArray[Any], *, columns: int | None = None, scale: int = 1) -> UInt8:
    """All images side by side, row by row, with one pixel between and around them.

    `images`: (N, C, H, W) with C = 1 or 3, in [−1, 1]. `columns`: how many in a row, by default a square.
    `scale`: size of one pixel on the screen. Returns (height, width, C) uint8.
    Raises `ShapeError` for another shape, and for no image at all.
    """
    count, channels, height, width = _checked(images).shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), BACKGROUND, np.uint8)
    for index, tile in enumerate(to_uint8(images).transpose(0, 2, 3, 1)):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = tile
    return canvas.repeat(scale, axis=0).repeat(scale, axis=1)


def write_grid(path: Path | str, images: NDArray[Any], *, columns: int | None = None, scale: int | None = None) -> Path:
    """Write the `grid` of `images` (N, C, H, W) as one PNG and return its path.

    `scale` by default makes an image at least 32 pixels tall, so that 8×8 digits can be read.
    Raises `ShapeError` as `grid` does, and `ConfigError` where `path` cannot be written.
    """
    scale = scale or math.ceil(32 / _checked(images).shape[2])
    return _write_png(path, grid(images, columns=columns, scale=scale))


def write_images(folder: Path | str, images: NDArray[Any]) -> list[Path]:
    """Write each of `images` (N, C, H, W) as a PNG of its own size, `00000.png` onwards, into `folder`.

    Returns their paths. Raises `ShapeError` as `grid` does, and `ConfigError` where `folder` cannot be written.
    """
    pixels = to_uint8(_checked(images)).transpose(0, 2, 3, 1)
    target = output_folder(folder)
    return [_write_png(target / f"{index:05d}.png", image) for index, image in enumerate(pixels)]


def write_loss_curve(path: Path | str, losses: Sequence[float] | NDArray[Any], *, title: str = "") -> Path:
    """Draw the loss of every step, and its running mean over a hundredth of the run, as a PNG. Returns its path.

    `losses`: (steps,), mean squared error per number, dimensionless. The axis is logarithmic.
    """
    values = np.asarray(losses, dtype=np.float64)
    window = max(1, len(values) // 100)
    steps = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")  # a Figure of its own: no global pyplot state
    axes = figure.add_subplot()
    axes.plot(steps, values, color="0.75", linewidth=0.6, label="each step")
    if window > 1:
        mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], mean, color="C0", label=f"mean of {window} steps")
    axes.set(xlabel="training step", ylabel="loss (mean squared error)", title=title, yscale="log")
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)


def _write_png(path: Path | str, pixels: UInt8) -> Path:
    """Write (H, W, C) uint8 pixels, grey for one channel and colour for three."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
    return Path(path)


def _checked(images: NDArray[Any]) -> NDArray[Any]:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ShapeError(f"images are {images.shape}, expected (N, C, H, W) with C = 1 or 3 and N at least 1")
    return images
