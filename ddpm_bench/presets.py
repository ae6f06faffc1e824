"""What a U-Net consists of, and the ready-made ones. Imports without MindSpore, so names are checked before the wait.

Every choice is a field of `UNetConfig`; a preset is a value of it. `cifar10` and `lsun256` are the nets of Ho et al.
2020 (Appendix B), checked against the paper by parameter count; `digits` and `mnist` are of the same family, small
enough for two cores; `article` follows the design the project grew from: a learned time embedding, max-pooling down,
transposed convolution up, self-attention at the middle resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from ddpm_bench.errors import ConfigError, unknown_name

TIME_EMBEDDINGS: Final = ("sinusoidal", "learned")
DOWNSAMPLES: Final = ("conv", "max_pool")
UPSAMPLES: Final = ("nearest", "transposed")


@dataclass(frozen=True)
class UNetConfig:
    """Every choice of a U-Net.

    Level 0 works at `image_size`, each further level at half the size before it, and a level has
    `base_channels * channel_mult[level]` channels. Raises `ConfigError`, one sentence, for a combination that cannot
    be built.
    """

    image_size: int
    """height and width of the images, in pixels"""
    in_channels: int
    """1 for grey, 3 for colour; the network's output has as many"""
    base_channels: int
    channel_mult: tuple[int, ...]
    """channels of each level, as multiples of `base_channels`; as many levels as entries"""
    blocks_per_level: int
    """residual blocks of a level on the way down; the way up has one more"""
    attention_at: tuple[int, ...]
    """resolutions, in pixels, at which every block is followed by self-attention; the middle always has it"""
    num_heads: int = 1
    groups: int = 32
    """groups of every group normalisation"""
    dropout: float = 0.0
    """probability of zeroing an entry before the second convolution of a block, while training"""
    time_embedding: str = "sinusoidal"
    """"sinusoidal" (fixed) or "learned" (a table with one row per time step)"""
    downsample: str = "conv"
    """"conv" (3×3, stride 2) or "max_pool" (2×2, stride 2)"""
    upsample: str = "nearest"
    """"nearest" (each pixel four times, then a 3×3 convolution) or "transposed" (convolution, 2×2, stride 2)"""
    num_timesteps: int = 1000
    """rows of the learned time embedding; the sinusoidal one takes any t"""

    def __post_init__(self) -> None:
        """Accept lists, as configuration files give them, and refuse what cannot be built."""
        for name in ("channel_mult", "attention_at"):
            object.__setattr__(self, name, _whole_numbers(name, getattr(self, name)))
        _check_numbers(self)
        _check_names(self)
        _check_shapes(self)

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.channel_mult)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Height and width at each level, in pixels."""
        return tuple(self.image_size // 2**level for level in range(self.levels))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.base_channels * multiple for multiple in self.channel_mult)


def _whole_numbers(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
        raise ConfigError(f"{name} is {values!r}: expected a list of whole numbers, such as [1, 2]")
    return tuple(values)


def _check_numbers(config: UNetConfig) -> None:
    for name in (
        "image_size",
        "in_channels",
        "base_channels",
        "blocks_per_level",
        "num_heads",
        "groups",
        "num_timesteps",
    ):
        value = getattr(config, name)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {value!r}: expected a whole number of at least 1")
    if not config.channel_mult or min(config.channel_mult) < 1:
        raise ConfigError(
            f"channel_mult is {config.channel_mult}: expected at least one entry, and every entry at least 1"
        )
    if not isinstance(config.dropout, int | float) or not 0 <= config.dropout < 1:
        raise ConfigError(f"dropout is {config.dropout!r}: expected a probability from 0 up to, not including, 1")


def _check_names(config: UNetConfig) -> None:
    for name, known in (
        ("time_embedding", TIME_EMBEDDINGS),
        ("downsample", DOWNSAMPLES),
        ("upsample", UPSAMPLES),
    ):
        if getattr(config, name) not in known:
            raise unknown_name(name, getattr(config, name), known)


def _check_shapes(config: UNetConfig) -> None:
    divisor = 2 ** (config.levels - 1)
    if config.image_size % divisor:
        raise ConfigError(
            f"image_size {config.image_size} is not divisible by {divisor}, as {config.levels} levels need it: "
            f"choose such a size or give channel_mult fewer entries"
        )
    if config.base_channels % config.groups:
        raise ConfigError(
            f"base_channels {config.base_channels} is not divisible by groups {config.groups}: "
            f"group normalisation needs equal groups"
        )
    if config.time_embedding == "sinusoidal" and (config.base_channels % 2 or config.base_channels < 4):
        raise ConfigError(
            f"base_channels is {config.base_channels}: the sinusoidal time embedding needs an even number of at least 4"
        )
    _check_attention(config)


def _check_attention(config: UNetConfig) -> None:
    strangers = [size for size in config.attention_at if size not in config.resolutions]
    if strangers:
        raise ConfigError(
            f"attention_at names the resolution {strangers[0]}: "
            f"this network works at {', '.join(str(size) for size in config.resolutions)}"
        )
    attending = {
        channels
        for size, channels in zip(config.resolutions, config.channels, strict=True)
        if size in config.attention_at
    }
    uneven = [channels for channels in sorted(attending | {config.channels[-1]}) if channels % config.num_heads]
    if uneven:
        raise ConfigError(
            f"num_heads {config.num_heads} does not divide the {uneven[0]} channels of a self-attention: "
            f"heads need equal shares"
        )


PRESETS: Final[dict[str, UNetConfig]] = {
    # Ho et al. 2020, Appendix B: 35 746 307 parameters.
    "cifar10": UNetConfig(
        image_size=32,
        in_channels=3,
        base_channels=128,
        channel_mult=(1, 2, 2, 2),
        blocks_per_level=2,
        attention_at=(16,),
        dropout=0.1,
    ),
    # Ho et al. 2020, Appendix B, for 256×256: 113 673 219 parameters; dropout only on CIFAR-10.
    "lsun256": UNetConfig(
        image_size=256,
        in_channels=3,
        base_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        blocks_per_level=2,
        attention_at=(16,),
    ),
    # Groups of 4 channels, as in the paper's first level (128 channels in 32 groups).
    "mnist": UNetConfig(
        image_size=28,
        in_channels=1,
        base_channels=32,
        channel_mult=(1, 2, 2),
        blocks_per_level=1,
        attention_at=(7,),
        groups=8,
    ),
    "digits": UNetConfig(
        image_size=8,
        in_channels=1,
        base_channels=32,
        channel_mult=(1, 2),
        blocks_per_level=1,
        attention_at=(4,),
        groups=8,
    ),
    "article": UNetConfig(
        image_size=28,
        in_channels=1,
        base_channels=64,
        channel_mult=(1, 2),
        blocks_per_level=1,
        attention_at=(14,),
        groups=16,
        time_embedding="learned",
        downsample="max_pool",
        upsample="transposed",
    ),
}


def preset(name: str, **changes: Any) -> UNetConfig:
    """The preset called `name`, with `changes` to its fields.

    Given another `image_size` and no `attention_at`, attention stays at the same levels, so that the network keeps its
    parameters: `preset("article", image_size=32)` attends at 16×16, the middle resolution.

    Raises `ConfigError` for an unknown preset or field, offering the nearest, and as `UNetConfig` does.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    known = [field.name for field in fields(UNetConfig)]
    for given in changes:
        if given not in known:
            raise unknown_name("U-Net setting", given, known)
    config = PRESETS[name]
    size = changes.get("image_size")
    if type(size) is int and "attention_at" not in changes and "channel_mult" not in changes:
        changes["attention_at"] = tuple(size // (config.image_size // old) for old in config.attention_at)
    return replace(config, **changes)
