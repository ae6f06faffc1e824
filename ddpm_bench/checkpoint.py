"""Everything a training run needs to go on bit for bit, in one safetensors file.

Tensors, all float32 but the last: `weights/NAME`, `average/NAME`, `moment_1/NAME`, `moment_2/NAME` with the U-Net's
parameter names (unet.py), and `losses` (step,) float64, the loss of every step so far. Metadata, all strings:

| key            | content                                                                     |
|----------------|-----------------------------------------------------------------------------|
| `format`       | "ddpm-bench checkpoint"                                                     |
| `schema`       | the number of this format                                                   |
| `step`         | optimiser steps taken                                                       |
| `config`       | JSON of the run's `TrainConfig` (config.py)                                 |
| `data`         | what it is trained on: a name or a folder                                   |
| `data_digest`  | SHA-256 of the images                                                       |
| `random_state` | JSON of the state of NumPy's bit generator, which draws batches, t and eps  |

No pickle: loading a stranger's checkpoint runs no code. History of the format: 1, the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from mindspore import Tensor
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ddpm_bench import operators
from ddpm_bench.config import TrainConfig, as_mapping, from_mapping
from ddpm_bench.device import current_device
from ddpm_bench.errors import ConfigError
from ddpm_bench.exchange import exchanged
from ddpm_bench.files import replacing
from ddpm_bench.unet import UNet

FORMAT = "ddpm-bench checkpoint"
SCHEMA = 1
FILE_NAME = "checkpoint.safetensors"

Arrays = dict[str, NDArray[np.float32]]

GROUPS = ("weights", "average", "moment_1", "moment_2")
"""The tensors that exist once for every parameter."""


@dataclass(frozen=True)
class Checkpoint:
    """A training run at rest after `step` optimiser steps.

    `weights`, their moving `average`, Adam's `moment_1` and `moment_2`: parameter name to float32 array. `losses`:
    (step,) float64. `random_state`: what `numpy.random.PCG64().state` takes.
    """

    step: int
    config: TrainConfig
    data: str
    data_digest: str
    weights: Arrays
    average: Arrays
    moment_1: Arrays
    moment_2: Arrays
    losses: NDArray[np.float64]
    random_state: dict[str, Any]


def save(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`; whatever was there stays until the new file is complete on the disk.

    Raises `ConfigError` where `path` cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {"losses": np.asarray(checkpoint.losses, np.float64)}
    for group in GROUPS:
        tensors.update({f"{group}/{name}": array for name, array in getattr(checkpoint, group).items()})
    metadata = {
        "format": FORMAT,
        "schema": str(SCHEMA),
        "step": str(checkpoint.step),
        "config": json.dumps(as_mapping(checkpoint.config)),
        "data": checkpoint.data,
        "data_digest": checkpoint.data_digest,
        "random_state": json.dumps(checkpoint.random_state),
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:  # the library's word for a full disk and its like
            raise OSError(str(error)) from None


def load(path: Path | str) -> Checkpoint:
    """The checkpoint at `path`, or in the folder `path` under the name that `train` gives it.

    Raises `ConfigError` for a missing file, one that is cut short or no safetensors at all, one that another program
    wrote, one of an unknown schema, and one whose content does not hold together.
    """
    file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ConfigError(f"no checkpoint at {file}: expected the {FILE_NAME} that `ddpm-bench train` writes")
    metadata, tensors = _read(file)
    _check_format(file, metadata)
    try:
        return _assemble(metadata, tensors)
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        detail = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{file} is damaged or was changed by another program: {detail}") from None


def _read(file: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a mapping: it has keys() and no iteration
    except (safetensors.SafetensorError, OSError) as error:
        raise ConfigError(
            f"{file} is cut short or no safetensors file ({error}): expected a checkpoint that "
            f"`ddpm-bench train` wrote; use an earlier one or train again"
        ) from None


def _check_format(file: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ConfigError(f"{file} was not written by `ddpm-bench train`: its metadata do not say {FORMAT!r}")
    if metadata.get("schema") != str(SCHEMA):
        raise ConfigError(
            f"{file} has checkpoint schema {metadata.get('schema')}, expected {SCHEMA}: "
            f"read it with the version of ddpm-bench that wrote it"
        )


def _assemble(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    checkpoint = Checkpoint(
        step=int(metadata["step"]),
        config=from_mapping(json.loads(metadata["config"])),
        data=metadata["data"],
        data_digest=metadata["data_digest"],
        losses=tensors["losses"],
        random_state=json.loads(metadata["random_state"]),
        **{group: _group(tensors, group) for group in GROUPS},
    )
    if checkpoint.losses.shape != (checkpoint.step,):
        raise ConfigError(f"{checkpoint.losses.size} losses for {checkpoint.step} steps")
    return checkpoint


def _group(tensors: dict[str, NDArray[Any]], group: str) -> Arrays:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def network(config: TrainConfig, weights: Arrays) -> UNet:
    """The U-Net of `config` with `weights` (parameter name to float32 array), for evaluation: no dropout.

    It is made of the operators of choice for the mode of `config`. Raises `ConfigError` naming the first weight that is
    missing, left over, or of another shape.
    """
    built = UNet(config.network)
    exchanged(built, operators.current(current_device(), config.mode))
    parameters = dict(built.parameters_and_names())
    check_fits(weights, {name: tuple(parameter.shape) for name, parameter in parameters.items()})
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(weights[name]))
    built.set_train(False)
    return built


def check_fits(weights: Arrays, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise `ConfigError` unless `weights` are float32 arrays of exactly these names and `shapes`."""
    for name in sorted(weights.keys() ^ shapes.keys()):
        found = "has no" if name in shapes else "has a"
        raise ConfigError(f"the checkpoint does not fit this network: it {found} tensor {name}")
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ConfigError(
                f"the checkpoint does not fit this network: {name} is {array.shape} {array.dtype}, "
                f"expected {shape} float32"
            )
