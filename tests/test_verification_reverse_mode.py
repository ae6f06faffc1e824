"""Each operation's adjoint, against central differences of the operation itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from verification.reverse_mode import Array, Tape, Value

STEP = 1e-5
RANDOM = np.random.default_rng(0)

IMAGE = RANDOM.standard_normal((2, 4, 6, 4))
KERNEL = RANDOM.standard_normal((3, 4, 3, 3))
BIAS = RANDOM.standard_normal(3)
CHANNELS = RANDOM.standard_normal((2, 4))
HEADS = RANDOM.standard_normal((3, 2, 2, 3, 5))
TABLE = RANDOM.standard_normal((5, 3))

OPERATIONS: dict[str, tuple[Callable[..., Value], tuple[Array, ...]]] = {
    "add": (Tape.add, (IMAGE, RANDOM.standard_normal(IMAGE.shape))),
    "add to each channel": (Tape.add, (IMAGE, CHANNELS[:, :, None, None])),
    "reshape": (lambda tape, x: tape.reshape(x, (2, 4, 24)), (IMAGE,)),
    "concatenate": (lambda tape, *parts: tape.concatenate(parts), (IMAGE, IMAGE[:, :1])),
    "silu": (Tape.silu, (3 * IMAGE,)),
    "dense": (Tape.dense, (CHANNELS, RANDOM.standard_normal((3, 4)), BIAS)),
    "lookup": (lambda tape, table: tape.lookup(table, np.array([4, 0, 4])), (TABLE,)),
    "convolution": (
        lambda tape, *args: tape.convolution(*args, stride=1, before=1, size=(6, 4)),
        (IMAGE, KERNEL, BIAS),
    ),
    "strided convolution": (
        lambda tape, *args: tape.convolution(*args, stride=2, before=0, size=(3, 2)),
        (IMAGE, KERNEL, BIAS),
    ),
    "transposed convolution": (
        Tape.transposed_convolution,
        (IMAGE, RANDOM.standard_normal((4, 3, 2, 2)), BIAS),
    ),
    "nearest": (Tape.nearest, (IMAGE,)),
    "max pool": (Tape.max_pool, (IMAGE,)),
    "group norm": (
        lambda tape, *args: tape.group_norm(*args, groups=2, eps=0.1),
        (IMAGE, RANDOM.standard_normal(4), RANDOM.standard_normal(4)),
    ),
    "attend": (lambda tape, *args: tape.attend(*args, scale=0.7), tuple(HEADS)),
}


@pytest.mark.parametrize(("operation", "arrays"), OPERATIONS.values(), ids=OPERATIONS.keys())
def test_adjoint_is_the_derivative(operation: Callable[..., Value], arrays: tuple[Array, ...]) -> None:
    random = np.random.default_rng(1)
    tape, values = Tape(), [Value(array) for array in arrays]
    out = operation(tape, *values)
    weights = random.standard_normal(out.array.shape)
    tape.backward(out, weights)
    for number, value in enumerate(values):
        direction = random.standard_normal(value.array.shape)

        def along(step: float, number: int = number, direction: Array = direction) -> float:
            moved = [array + step * direction if i == number else array for i, array in enumerate(arrays)]
            return float(np.sum(weights * operation(Tape(), *map(Value, moved)).array))

        # T6: central differences of a smooth function in float64 err by about STEP^2 times its third derivative
        difference = (along(STEP) - along(-STEP)) / (2 * STEP)
        assert float(np.sum(value.gradient * direction)) == pytest.approx(difference, rel=1e-7, abs=1e-7)


def test_value_used_twice_gets_both_gradients() -> None:
    tape, x = Tape(), Value(np.array([3.0]))
    out = tape.add(x, x)
    tape.backward(out, np.ones(1))
    assert x.gradient == 2.0


def test_convolution_with_stride_2_pads_right_and_below_as_needed() -> None:
    tape = Tape()
    image = np.zeros((1, 1, 4, 4))
    image[0, 0, 0, 0] = image[0, 0, 3, 3] = 1.0
    kernel = np.arange(9.0).reshape(1, 1, 3, 3)
    out = tape.convolution(Value(image), Value(kernel), Value(np.zeros(1)), stride=2, before=0, size=(2, 2))
    assert out.array[0, 0].tolist() == [[0.0, 0.0], [0.0, 4.0]]
