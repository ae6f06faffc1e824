"""How accurate MindSpore's kernels are on this device: asked, not looked up.

`measure` puts the questions of `kernel_truth.py` to each operator, in every floating-point type and in PyNative and
graph mode, and returns the rows of the record that `kernel_record.py` describes. It is run by a fresh process, through
`probe.ask("kernels")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import mindspore
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from ddpm_bench import device
from ddpm_bench.kernel_record import PRECISION, figures
from ddpm_bench.kernel_truth import GROUP_NORM_EPSILON, GROUPS, TRIALS, Trial, answers, errors, sizes

Array = npt.NDArray[Any]

DTYPES: Final = {name: getattr(mindspore, name) for name in PRECISION}
MANY, FEW = 400_000, 4_000
"""Points for types that float64 can judge, and for float64, which needs mpmath."""


def _convolve(x: Tensor, filters: Tensor) -> Tensor:
    return ops.conv2d(x, filters, pad_mode="pad", padding=1)


def _normalise(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return ops.group_norm(x, GROUPS, scale, shift, GROUP_NORM_EPSILON)


def _soften(x: Tensor) -> Tensor:
    return ops.softmax(x, -1)


OPERATORS: Final[dict[str, Callable[..., Tensor]]] = {
    **{trial.op: getattr(ops, trial.op) for trial in TRIALS if hasattr(ops, trial.op)},
    "softmax": _soften,
    "conv2d": _convolve,
    "group_norm": _normalise,
}
"""The operators by the names of the trials, with MindSpore's defaults where a trial does not say otherwise."""


class Applied(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """One operator as a Cell, so that every mode can run it."""

    def __init__(self, operator: Callable[..., Tensor]) -> None:
        super().__init__()
        self.operator = operator

    def construct(self, *arguments: Tensor) -> Tensor:
        return self.operator(*arguments)


def measure() -> list[dict[str, Any]]:
    """The rows of the ledger: one for each operator, reach, type and mode."""
    return [row for trial in TRIALS for dtype in DTYPES for row in _rows(trial, dtype)]


def _rows(trial: Trial, dtype: str) -> Iterator[dict[str, Any]]:
    """The operator in one type, in both modes. What MindSpore lacks is a row that says so."""
    given = [Tensor(argument, DTYPES[dtype]) for argument in trial.arguments(FEW if dtype == "float64" else MANY)]
    arguments = [_values(tensor) for tensor in given]  # as the type holds them
    truth = answers(trial, arguments, precise=dtype == "float64")
    size = sizes(trial, arguments, truth)
    for mode in device.MODES:
        row = {"op": trial.op, "dtype": dtype, "device": device.current_device(), "mode": mode, "reach": trial.reach}
        try:
            computed = _values(device.compiled(Applied(OPERATORS[trial.op]), mode)(*given))
        except Exception as error:  # noqa: BLE001 - MindSpore raises whatever it likes for what it does not have
            yield {**row, "unsupported": _first_words(error)}
            continue
        yield {**row, **figures(computed, errors(computed, truth), size, dtype, arguments)}


def _values(tensor: Tensor) -> Array:
    """The entries in float64, which holds those of every type exactly."""
    if tensor.dtype == mindspore.bfloat16:  # NumPy has no such type
        tensor = tensor.astype(mindspore.float32)
    return np.asarray(tensor.asnumpy(), np.float64)


def _first_words(error: Exception) -> str:
    """The first line of what MindSpore said that is more than a frame around it."""
    lines = [line.strip(" -#") for line in str(error).splitlines()]
    return f"{type(error).__name__}: {next((line for line in lines if line), '')}"[:200]
