"""Reverse-mode differentiation by hand: the operations of a U-Net, each with the adjoint of its derivative.

A `Tape` remembers what was computed; `Tape.backward` walks it in reverse order and adds to every `Value` the derivative
of the loss with respect to it. The gradients are those of the formulas written beside them; all is float64 NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = tuple[int, ...]  # height, width


@dataclass(eq=False)
class Value:
    """An array and, after `Tape.backward`, the derivative of the loss with respect to it, of the same shape."""

    array: Array
    gradient: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.gradient = np.zeros_like(self.array)


class Tape:
    """The operations done so far; every method takes and returns `Value`s and appends its adjoint."""

    def __init__(self) -> None:
        self._adjoints: list[Callable[[], None]] = []

    def backward(self, output: Value, gradient: Array) -> None:
        """Propagate dloss/doutput back to everything `output` was made from."""
        output.gradient += gradient
        for adjoint in reversed(self._adjoints):
            adjoint()

    def constant(self, array: Array, error: Array) -> Value:  # noqa: ARG002 - for tapes that imitate rounding
        """An array that no loss is differentiated by, and its allowed rounding in units of roundoff."""
        return Value(array)

    def add(self, a: Value, b: Value) -> Value:
        """Sum of a and b, of equal shape or `b` broadcasting against `a`."""
        out = Value(a.array + b.array)

        def adjoint() -> None:
            a.gradient += out.gradient
            axes = tuple(i for i, n in enumerate(b.array.shape) if n != a.array.shape[i])
            b.gradient += out.gradient.sum(axis=axes, keepdims=True)

        return self._record(out, adjoint)

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The same numbers in another shape."""
        out = Value(x.array.reshape(shape))

        def adjoint() -> None:
            x.gradient += out.gradient.reshape(x.array.shape)

        return self._record(out, adjoint)

    def concatenate(self, parts: tuple[Value, ...]) -> Value:
        """Along the channels, axis 1."""
        out = Value(np.concatenate([part.array for part in parts], axis=1))
        ends = np.cumsum([part.array.shape[1] for part in parts])[:-1]

        def adjoint() -> None:
            for part, gradient in zip(parts, np.split(out.gradient, ends, axis=1), strict=True):
                part.gradient += gradient

        return self._record(out, adjoint)

    def silu(self, x: Value) -> Value:
        """SiLU: x s with s = 1 / (1 + exp(-x)); its derivative is s (1 + x (1 - s))."""
        sigmoid = 0.5 * (1.0 + np.tanh(0.5 * x.array))
        out = Value(x.array * sigmoid)

        def adjoint() -> None:
            x.gradient += out.gradient * sigmoid * (1.0 + x.array * (1.0 - sigmoid))

        return self._record(out, adjoint)

    def dense(self, x: Value, weight: Value, bias: Value) -> Value:
        """(N, I) to (N, O): x W^T + b."""
        out = Value(x.array @ weight.array.T + bias.array)

        def adjoint() -> None:
            x.gradient += out.gradient @ weight.array
            weight.gradient += out.gradient.T @ x.array
            bias.gradient += out.gradient.sum(axis=0)

        return self._record(out, adjoint)

    def lookup(self, table: Value, rows: NDArray[np.integer[Any]]) -> Value:
        """Rows of a (T, C) table: (N,) to (N, C)."""
        out = Value(table.array[rows])

        def adjoint() -> None:
            np.add.at(table.gradient, rows, out.gradient)

        return self._record(out, adjoint)

    def convolution(self, x: Value, weight: Value, bias: Value, *, stride: int, before: int, size: Size) -> Value:
        """(N, I, H, W) to (N, O, *size): cross-correlation tap by tap, `before` zeros to the left and above.

        As many zeros follow on the right and below as the last window needs.
        """
        n, channels, height, width = x.array.shape
        taps = weight.array.shape[-1]
        reach = [
            max((out - 1) * stride + taps, before + given) for out, given in zip(size, (height, width), strict=True)
        ]
        padded = np.zeros((n, channels, *reach))
        inside = (slice(None), slice(None), slice(before, before + height), slice(before, before + width))
        padded[inside] = x.array
        starts = [(k, j) for k in range(taps) for j in range(taps)]

        def window(k: int, j: int) -> tuple[slice, ...]:
            rows, columns = ((out - 1) * stride + 1 for out in size)
            return (slice(None), slice(None), slice(k, k + rows, stride), slice(j, j + columns, stride))

        total = sum(_mix(weight.array[:, :, k, j], padded[window(k, j)]) for k, j in starts)
        out = Value(total + bias.array[:, None, None])

        def adjoint() -> None:
            spread = np.zeros_like(padded)
            for k, j in starts:
                spread[window(k, j)] += _mix(weight.array[:, :, k, j].T, out.gradient)
                weight.gradient[:, :, k, j] += np.tensordot(
                    out.gradient, padded[window(k, j)], axes=((0, 2, 3), (0, 2, 3))
                )
            x.gradient += spread[inside]
            bias.gradient += out.gradient.sum(axis=(0, 2, 3))

        return self._record(out, adjoint)

    def transposed_convolution(self, x: Value, weight: Value, bias: Value) -> Value:
        """Kernel 2, stride 2: the four pixels out of each pixel in are four channel mixtures; weight (I, O, 2, 2)."""
        n, _, height, width = x.array.shape
        out = Value(np.zeros((n, weight.array.shape[1], 2 * height, 2 * width)))
        corners = [(k, j) for k in range(2) for j in range(2)]
        for k, j in corners:
            out.array[:, :, k::2, j::2] = _mix(weight.array[:, :, k, j].T, x.array) + bias.array[:, None, None]

        def adjoint() -> None:
            for k, j in corners:
                gradient = out.gradient[:, :, k::2, j::2]
                x.gradient += _mix(weight.array[:, :, k, j], gradient)
                weight.gradient[:, :, k, j] += np.tensordot(x.array, gradient, axes=((0, 2, 3), (0, 2, 3)))
            bias.gradient += out.gradient.sum(axis=(0, 2, 3))

        return self._record(out, adjoint)

    def nearest(self, x: Value) -> Value:
        """Twice the height and width: every pixel four times."""
        out = Value(np.kron(x.array, np.ones((1, 1, 2, 2))))

        def adjoint() -> None:
            x.gradient += sum(out.gradient[:, :, k::2, j::2] for k in range(2) for j in range(2))

        return self._record(out, adjoint)

    def max_pool(self, x: Value) -> Value:
        """Half the height and width: the largest of each four pixels; of equal ones the first gets the gradient."""
        corners = np.stack([x.array[:, :, k::2, j::2] for k in range(2) for j in range(2)])
        chosen = corners.argmax(axis=0)
        out = Value(corners.max(axis=0))

        def adjoint() -> None:
            for i, (k, j) in enumerate((k, j) for k in range(2) for j in range(2)):
                x.gradient[:, :, k::2, j::2] += out.gradient * (chosen == i)

        return self._record(out, adjoint)

    def group_norm(self, x: Value, gamma: Value, beta: Value, *, groups: int, eps: float) -> Value:
        """GroupNorm: gamma (x - mean) / sqrt(variance + eps) + beta over each group of channels.

        With n = (x - mean) / std and g the derivative by n, the one by x is (g - mean(g) - n mean(g n)) / std.
        """
        shape = (x.array.shape[0], groups, -1)
        values = x.array.reshape(shape)
        std = np.sqrt(values.var(axis=2, keepdims=True) + eps)
        normed = (values - values.mean(axis=2, keepdims=True)) / std
        image = normed.reshape(x.array.shape)
        out = Value(image * gamma.array[:, None, None] + beta.array[:, None, None])

        def adjoint() -> None:
            gamma.gradient += (out.gradient * image).sum(axis=(0, 2, 3))
            beta.gradient += out.gradient.sum(axis=(0, 2, 3))
            g = (out.gradient * gamma.array[:, None, None]).reshape(shape)
            along = (g * normed).mean(axis=2, keepdims=True)
            x.gradient += ((g - g.mean(axis=2, keepdims=True) - normed * along) / std).reshape(x.array.shape)

        return self._record(out, adjoint)

    def attend(self, q: Value, k: Value, v: Value, *, scale: float) -> Value:
        """(N, heads, d, pixels) each: for every pixel the mean of v, weighted by softmax(q . k scale).

        With p the weights and g the derivative by them, the one by the scores is p (g - sum(p g)).
        """
        scores = scale * (q.array.swapaxes(2, 3) @ k.array)
        p = np.exp(scores - scores.max(axis=3, keepdims=True))
        p /= p.sum(axis=3, keepdims=True)
        out = Value(v.array @ p.swapaxes(2, 3))

        def adjoint() -> None:
            v.gradient += out.gradient @ p
            g = out.gradient.swapaxes(2, 3) @ v.array
            by_scores = scale * p * (g - (p * g).sum(axis=3, keepdims=True))
            q.gradient += k.array @ by_scores.swapaxes(2, 3)
            k.gradient += q.array @ by_scores

        return self._record(out, adjoint)

    def _record(self, out: Value, adjoint: Callable[[], None]) -> Value:
        self._adjoints.append(adjoint)
        return out


def _mix(matrix: Array, image: Array) -> Array:
    """(O, I) times (N, I, H, W): the same mixture of channels at every pixel."""
    n, channels, height, width = image.shape
    matrix = np.ascontiguousarray(matrix)  # one tap of a kernel has strides that would keep the product out of BLAS
    return np.asarray(matrix @ image.reshape(n, channels, -1)).reshape(n, -1, height, width)
