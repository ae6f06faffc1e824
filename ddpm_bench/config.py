"""What a training run is made of, and how a file says so.

A configuration file is TOML, or JSON with the same keys. Its top level holds the fields of `TrainConfig`, the table
`[network]` those of `UNetConfig` and the name of the preset they change, the table `[diffusion]` those of
`DiffusionConfig`:

    steps = 20000
    learning_rate = 2e-4

    [network]
    preset = "digits"
    base_channels = 64

    [diffusion]
    schedule = "cosine"

What is not named keeps its default; an unknown name is refused with the nearest known ones.
"""

from __future__ import annotations

import json
import math
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ddpm_bench import device
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ConfigError, unknown_name
from ddpm_bench.schedule import make_schedule
from ddpm_bench.unet import UNetConfig, preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Config = TypeVar("Config")


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process and the choices of the reverse one; by default those of Ho et al. 2020, section 4.

    `schedule`, `num_timesteps`, `rescale`, `beta_start`, `beta_end` as `make_schedule` takes them; `variance`,
    `clip_x_0`, `parameterization` as `GaussianDiffusion` does, which also raise `ConfigError` for what they refuse.
    """

    schedule: str = "linear"
    num_timesteps: int = 1000
    rescale: bool = False
    beta_start: float = 1e-4
    beta_end: float = 0.02
    variance: str = "posterior"
    clip_x_0: bool = True
    parameterization: str = "eps"

    def __post_init__(self) -> None:
        """Refuse at once what building would refuse later."""
        self.build()

    def build(self, *, timesteps: Iterable[int] | None = None) -> GaussianDiffusion:
        """The diffusion these choices describe; given `timesteps`, as it looks at those of the T steps alone."""
        schedule = make_schedule(
            self.schedule,
            self.num_timesteps,
            rescale=self.rescale,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
        )
        return GaussianDiffusion(
            schedule if timesteps is None else schedule.respace(timesteps),
            variance=self.variance,
            clip_x_0=self.clip_x_0,
            parameterization=self.parameterization,
        )


@dataclass(frozen=True)
class TrainConfig:
    """One training run, but for the data and the place.

    `network` and `diffusion`: what is trained, on which objective. `steps`: optimiser steps in all. `batch_size`:
    images a step. `learning_rate`: Adam's, constant. `clip_norm`: the gradient's global norm is cut to this.
    `ema_decay`: of the moving average, after its warm-up. `checkpoint_every`: steps between checkpoints. `seed`: of
    the initial weights, the batches, t and the noise. `mode`: "graph" (compiled) or "pynative".

    Raises `ConfigError` for a value outside its range.
    """

    network: UNetConfig = field(default_factory=lambda: preset("digits"))
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 1e-3
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    checkpoint_every: int = 500
    seed: int = 0
    mode: str = "graph"

    def __post_init__(self) -> None:
        """Refuse values that no run could use."""
        for name, least in {"steps": 1, "batch_size": 1, "checkpoint_every": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a positive finite number")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}, expected at least 0 and less than 1")
        if self.mode not in device.MODES:
            raise unknown_name("mode", self.mode, device.MODES)


def load_config(path: Path | str, *, preset_name: str | None = None) -> TrainConfig:
    """The run that the file at `path` describes; TOML, or JSON where the name ends in `.json`.

    `preset_name` is the network to start from where the file names none ("digits" otherwise); naming another one in
    the file as well is an error. Raises `ConfigError` for a missing or malformed file, an unknown key, and a value of
    the wrong type or outside its range; each names the file.
    """
    content = _read(path)
    try:
        return from_mapping(content, preset_name=preset_name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read(path: Path | str) -> object:
    kind = "JSON" if Path(path).suffix == ".json" else "TOML"
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:  # both parsers' errors, and bytes that are not UTF-8
        raise ConfigError(f"{path} is not {kind}: {error}") from None


def from_mapping(content: object, *, preset_name: str | None = None) -> TrainConfig:
    """The `TrainConfig` with the fields that nested mappings `content` name, as TOML, JSON or `as_mapping` give them.

    Raises `ConfigError` as `load_config` does, without the file's name.
    """
    top = dict(_mapping("the configuration", content))
    changes = dict(_mapping("network", top.pop("network", {})))
    diffusion = _mapping("diffusion", top.pop("diffusion", {}))
    named = changes.pop("preset", None)
    if named is not None and preset_name is not None and named != preset_name:
        raise ConfigError(f"the network is to be {preset_name!r} but the configuration says {named!r}: name one")
    base = preset(_typed(str, named or preset_name or "digits", "preset"))
    config = TrainConfig(
        network=_changed(base, changes, known=("preset",)), diffusion=_changed(DiffusionConfig(), diffusion)
    )
    return _changed(config, top)


def as_mapping(config: TrainConfig) -> dict[str, Any]:
    """The nested mapping that `from_mapping` turns into `config` again; JSON can hold it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))  # tuples become lists, as they do in a file
    return plain


def difference(config: TrainConfig, other: TrainConfig, *, ignore: tuple[str, ...] = ()) -> str | None:
    """The first field in which two runs differ, with both values, "batch_size is 64 and was 128"; None if none does."""
    now, was = _flat(as_mapping(config)), _flat(as_mapping(other))
    for name in now:
        if name not in ignore and now[name] != was[name]:
            return f"{name} is {now[name]} and was {was[name]}"
    return None


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        found.update(_flat(value, f"{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return found


def _mapping(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {value!r}, expected a table of keys and values")
    return value


def _changed(config: Config, changes: Mapping[str, object], *, known: tuple[str, ...] = ()) -> Config:
    """`config` with some fields replaced; unknown keys get the nearest of its fields and of the `known`."""
    types = typing.get_type_hints(type(config))
    for name in changes:
        if name not in types:
            raise unknown_name("configuration key", name, [*types, *known])
    return replace(config, **{name: _typed(types[name], value, name) for name, value in changes.items()})  # type: ignore[type-var]  # only dataclasses come in


def _typed(wanted: Any, value: object, name: str) -> Any:
    """`value` if it is of the `wanted` type: an int may stand for a float, a list for a tuple, nothing else."""
    if wanted is float and type(value) is int:
        return float(value)
    if typing.get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_typed(typing.get_args(wanted)[0], item, f"an entry of {name}") for item in value)
    if type(value) is not wanted:
        raise ConfigError(f"{name} is {value!r}, expected {_ARTICLES.get(wanted, str(wanted))}")
    return value


_ARTICLES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
