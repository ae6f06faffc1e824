"""The questions `probe.ask` can put to a fresh process. Each returns what it saw, as JSON can hold it; none judges.

Graph mode parses source text, so what is compiled here stands in a file, as functions and Cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import_started = time.perf_counter()
import mindspore  # noqa: E402 - its import is timed
import numpy as np  # noqa: E402 - MindSpore imports it; timed with it
from mindspore import Tensor, nn, ops  # noqa: E402 - as above

IMPORT_SECONDS = time.perf_counter() - import_started

from ddpm_bench import device  # noqa: E402 - imports MindSpore
from ddpm_bench.probe import write_answer  # noqa: E402 - as above


def answer(task: str) -> None:
    """Run the task called `task` and print its answer."""
    write_answer(TASKS[task]())


def convolution() -> dict[str, Any]:
    """Seconds for a 3×3 convolution, 64 to 64 channels, of one 16×16 image, and for the matrix product it amounts to.

    As small as still tells them apart: in the trap, with other programs on the cores, larger ones take many seconds.
    Also the median for an addition under the same setting, `launch_blocking`, to compare with that of `traits`.
    """
    mindspore.runtime.launch_blocking()  # or a scheduler tick, 4 ms, hides the difference; no effect after an operator
    images = Tensor(np.ones((1, 64, 16, 16), np.float32))
    patches = Tensor(np.ones((16 * 16, 64 * 9), np.float32))
    weight = Tensor(np.ones((64 * 9, 64), np.float32))
    convolve = nn.Conv2d(64, 64, 3)
    least = least_seconds(
        convolution=lambda: convolve(images).asnumpy(),
        matmul=lambda: ops.matmul(patches, weight).asnumpy(),
    )
    return {**least, "addition": _median_addition()}


def least_seconds(*, rounds: int = 20, patience: float = 1.5, **calls: Callable[[], object]) -> dict[str, float]:
    """The shortest time of each call, after an untimed one; fewer rounds once `patience` seconds are spent.

    The calls take turns, and within a round each is repeated to fill a few milliseconds: a quick one that meets a busy
    neighbour every time would look slow, and make a slow one look quick beside it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    start = time.perf_counter()
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name] += _repeat(call, 0.01)
        if time.perf_counter() - start > patience:
            break
    return {name: min(values) for name, values in seconds.items()}


def _repeat(call: Callable[[], object], fill: float) -> list[float]:
    """Seconds of consecutive calls until `fill` seconds are spent, at least one."""
    seconds: list[float] = []
    while sum(seconds) < fill:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


class Gradient(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The gradient of `cell` with respect to its input and parameters, as one number: all of it has to be computed."""

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__()
        self.cell = cell
        self.weights = mindspore.ParameterTuple(cell.trainable_params())
        self.differentiate = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x: Tensor, sensitivity: Tensor) -> Tensor:
        inputs, (first, second) = self.differentiate(self.cell, self.weights)(x, sensitivity)
        return ops.max(inputs[0])[0] + ops.max(first.reshape(-1))[0] + ops.max(second)[0]


def operators() -> dict[str, Any]:
    """Seconds for each part that can be computed in two ways, by mode: forward and gradient, or all there is.

    At shapes of the paper's CIFAR-10 net: 128 channels of 32×32 normalised, 256 channels of 8×8 doubled, 256 of 16×16
    convolved, the gradient of a convolution of 256 to 256 channels.
    """
    from ddpm_bench.group_norm import ComposedGroupNorm
    from ddpm_bench.train_step import squares_at_once, squares_by_product
    from ddpm_bench.unet_blocks import Nearest, conv
    from ddpm_bench.upsampling import FoldedNearest
    from ddpm_bench.winograd import WinogradConvolution

    device.configure()
    wide, small, doubled = (4, 128, 32, 32), (4, 256, 8, 8), (4, 256, 16, 16)
    norms = (nn.GroupNorm(32, 128, eps=1e-6), ComposedGroupNorm(32, 128, eps=1e-6))
    upsamplings = (Nearest(256), FoldedNearest(256))
    convolutions = (conv(256, 256), WinogradConvolution(256, 256))
    gradient = _numbers(256, 256, 3, 3)

    def by_mode(make: Callable[[Any, str], Callable[[], list[Any]]], native: Any, other: Any) -> dict[str, Any]:
        return {mode: two_ways(make(native, mode), make(other, mode)) for mode in device.MODES}

    return {
        "norm": by_mode(lambda cell, mode: _call(cell, wide, wide, mode), *norms),
        "upsample": by_mode(lambda cell, mode: _call(cell, small, doubled, mode), *upsamplings),
        "conv": by_mode(lambda cell, mode: _call(cell, doubled, doubled, mode), *convolutions),
        "clip": by_mode(lambda way, mode: _sum(way, gradient, mode), squares_at_once, squares_by_product),
    }


def _sum(way: Callable[[Tensor], Tensor], x: Tensor, mode: str) -> Callable[[], list[Any]]:
    run = device.compiled(way, mode)
    return lambda: [run(x).asnumpy()]


def _numbers(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _call(cell: nn.Cell, given: tuple[int, ...], made: tuple[int, ...], mode: str) -> Callable[[], list[Any]]:
    """What computes a Cell and its gradient, from a tensor of one shape to one of another."""
    for parameter in cell.trainable_params():
        parameter.set_data(_numbers(*parameter.shape))
    forward, gradient = device.compiled(cell, mode), device.compiled(Gradient(cell), mode)
    x, sensitivity = _numbers(*given), _numbers(*made)
    return lambda: [forward(x).asnumpy(), gradient(x, sensitivity).asnumpy()]


def two_ways(native: Callable[[], list[Any]], other: Callable[[], list[Any]]) -> dict[str, float | None]:
    """Seconds of both calls; None for the other one if it does not work here or what it returns is not the same."""
    if _works(lambda: _same(native(), other())):
        return {**least_seconds(native=native, other=other)}
    return {**least_seconds(native=native), "other": None}


def _same(results: list[Any], others: list[Any]) -> None:
    """Raises where two ways do not agree as far as rounding allows, here 1e-4 of what is largest."""
    for result, other in zip(results, others, strict=True):
        np.testing.assert_allclose(other, result, rtol=0, atol=1e-4 * np.abs(result).max())


def traits() -> dict[str, Any]:
    """Everything that one process can tell about this MindSpore, in the only order that works.

    The first operator comes first (a wrong NumPy ABI ends the process there), then the first synchronise.
    """
    return {
        "version": mindspore.__version__,
        "numpy": np.__version__,
        "import_seconds": IMPORT_SECONDS,
        "one_plus_one": float((Tensor(np.ones(1, np.float32)) + 1).asnumpy()[0]),
        "synchronise": _synchronise(),
        "devices": device.available_devices(),
        "modes": modes(),
        "defaults": _defaults(),
        "gather_minus_one": _gather_minus_one(),
        "kernels": _kernel_errors(),
        "reseeding_repeats": _reseeding_repeats(),
        "float64_convolution": _works(_float64_convolution),
        "events": _works(_event),
        "peak_memory": int(mindspore.runtime.max_memory_allocated()),
        "addition": _median_addition(),
    }


def _synchronise() -> dict[str, Any]:
    """Does the first `runtime.synchronize()` wait, does the second, and does ours?"""
    first, second = _left_after_wait(), _left_after_wait()
    return {"left_after_first": first, "left_after_second": second, "proof": device.prove_synchronise().as_record()}


def _left_after_wait() -> float:
    """Share of the work still to be done when MindSpore's own synchronise returns: 0 if it waits, 1 if it does not."""
    matrix = Tensor(np.full((512, 512), 1 / 512, np.float32))
    start = time.perf_counter()
    product = matrix
    for _ in range(100):
        product = ops.matmul(product, matrix)
    mindspore.runtime.synchronize()
    waited = time.perf_counter()
    product.asnumpy()
    fetched = time.perf_counter()
    return (fetched - waited) / (fetched - start)


class Small(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """A few operators, and an output without a zero."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.exp(ops.matmul(x, x)) + 1


def modes() -> dict[str, Any]:
    """Are graphs compiled when asked for, are kernels run, and do all modes give the same bits?"""
    x = Tensor(np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4))
    small = Small()
    before = device.compile_count()
    plain = small(x).asnumpy()
    after_pynative = device.compile_count()
    compiled = mindspore.jit(small)(x).asnumpy()
    in_graph = Small()  # counted as long as it lives
    with device.whole_graph():
        whole = in_graph(x).asnumpy()
    return {
        "compiled_in_pynative": after_pynative - before,
        "compiled_in_graph": device.compile_count() - after_pynative,
        "kernels_run": bool((compiled != 0).all() and (plain != 0).all()),
        "same_bits": bool((plain == compiled).all() and (plain == whole).all()),
    }


def _defaults() -> dict[str, Any]:
    """What layers do when they are not told; PyTorch: stride 2, a bias, 4×4 from a 6×6 image."""
    image = Tensor(np.ones((1, 1, 6, 6), np.float32))
    convolve = nn.Conv2d(1, 1, 3)
    return {
        "max_pool_stride": 6 // int(nn.MaxPool2d(2)(image).shape[2]),
        "convolution_has_bias": bool(convolve.has_bias),
        "convolution_keeps_size": convolve(image).shape[2] == 6,
    }


def _gather_minus_one() -> str:
    """What index −1 fetches from the table [10, 20, 30]."""
    try:
        entry = ops.gather(Tensor([10.0, 20.0, 30.0]), Tensor([-1], mindspore.int32), 0).asnumpy()[0]
    except (IndexError, ValueError, RuntimeError) as error:
        return type(error).__name__
    return "last entry" if entry == 30 else f"{entry:g}"


def _kernel_errors() -> dict[str, float]:
    """Largest relative error of float32 kernels: over −8…8, near 0 for those that exist for the sake of 0."""
    wide = np.linspace(-8, 8, 20001, dtype=np.float32)
    tiny = np.geomspace(1e-8, 1e-3, 2001, dtype=np.float32)
    return {
        "erf": _relative_error(ops.erf, np.vectorize(_erf), wide[::50]),
        "exp": _relative_error(ops.exp, np.exp, wide),
        "tanh": _relative_error(ops.tanh, np.tanh, wide),
        "log1p": _relative_error(ops.log1p, np.log1p, tiny),
        "expm1": _relative_error(ops.expm1, np.expm1, tiny),
    }


def _erf(x: float) -> float:
    import math

    return math.erf(x)


def _relative_error(kernel: Callable[[Tensor], Tensor], exact: Callable[[Any], Any], x: Any) -> float:
    true = exact(x.astype(np.float64))
    computed = kernel(Tensor(x)).asnumpy().astype(np.float64)
    return float(np.max(np.abs(computed - true) / np.maximum(np.abs(true), 1e-30)))


class Noise(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Draws its own noise."""

    def construct(self, x: Tensor) -> Tensor:
        return x + ops.standard_normal((4,))


def _reseeding_repeats() -> bool:
    """Does seeding again make an already compiled Cell repeat its noise?"""
    zeros, noise = Tensor(np.zeros(4, np.float32)), mindspore.jit(Noise())
    device.seed_everything(1)
    first = noise(zeros).asnumpy()
    device.seed_everything(1)
    return bool((noise(zeros).asnumpy() == first).all())


def _float64_convolution() -> None:
    convolve = nn.Conv2d(1, 1, 3, dtype=mindspore.float64)
    convolve(Tensor(np.ones((1, 1, 4, 4)), mindspore.float64)).asnumpy()


def _event() -> None:
    mindspore.runtime.Event(enable_timing=True).record()


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except Exception:  # noqa: BLE001 - the question is whether it works; MindSpore raises whatever it likes
        return False
    return True


def _median_addition() -> float:
    """Median seconds for one PyNative addition of 2 MB and fetching the result."""
    x = Tensor(np.ones((512, 1024), np.float32))
    seconds = []
    for _ in range(31):
        start = time.perf_counter()
        (x + x).asnumpy()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def kernels() -> dict[str, Any]:
    """The accuracy of every operator; see `kernels.py`."""
    from ddpm_bench.kernels import measure  # SciPy's and mpmath's import is not worth a second to the other questions

    device.configure()
    return {"kernels": measure()}


TASKS: dict[str, Callable[[], dict[str, Any]]] = {
    "convolution": convolution,
    "operators": operators,
    "traits": traits,
    "modes": modes,
    "kernels": kernels,
}
