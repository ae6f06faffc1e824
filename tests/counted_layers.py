"""The layers of a U-Net and their gradients, number by number: every product is counted as it is made.

Nothing is derived here. Convolutions, normalisations and products are loops over `Number`s; a layer says which arrays
it reads and writes, and their bytes in float32 are added up. Gradients go backwards along a list of what was done.

How gradients of a tensor with several users become one is the rule that `benchmarks/work.py` states: they wait until
its first user's turn, which reads them and adds them to its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np
from counted_numbers import (
    ONE,
    TALLY,
    Margin,
    Number,
    Numbers,
    Seen,
    Tensor,
    cropped,
    each,
    numbers,
    padded,
    total,
    zeros,
)
from numpy.typing import NDArray

EPS = 1e-6
"""Of group normalisation, as in the paper's code."""

Triples = Callable[[], Iterator[tuple[Any, Any, Any]]]
"""Index of an output, of a weight and of an input that meet in a product, for every product."""


class CountedLayers:
    """Layers of the network of `config` with the `weights` of the real one, and what was seen of each."""

    def __init__(self, config: Any, weights: Mapping[str, Any]) -> None:
        self.config = config
        self.weights = {name: numbers(value) for name, value in weights.items()}
        self.weight_gradients: dict[str, Numbers] = {}
        self.seen: dict[str, dict[str, Seen]] = {}
        self.back: list[Callable[[], None]] = []

    @contextmanager
    def step(self, name: str, step: str) -> Iterator[Seen]:
        seen = self.seen.setdefault(name, {}).setdefault(step, Seen())
        before = dict(TALLY)
        yield seen
        for kind in TALLY:
            setattr(seen, kind, getattr(seen, kind) + TALLY[kind] - before[kind])

    def give(self, seen: Seen, name: str, x: Tensor, gradient: Numbers) -> None:
        """The layer's gradient of `x` is ready; its first user adds what waits."""
        if x.users[0] == name:
            for waiting in x.gradients:
                seen.reads(waiting)
                gradient = gradient + waiting
            x.gradients.clear()
        seen.writes(gradient)
        x.gradients.append(gradient)

    # Layers with weights.

    def linear(
        self,
        name: str,
        x: Tensor,
        shape: tuple[int, ...],
        triples: Triples,
        margin: Margin = (0, 0),
        *,
        wanted: bool = True,
    ) -> Tensor:
        """Σ weight[w] · x[i] + bias at each o, over the (o, w, i) of `triples`; of `shape`, x within a `margin`."""
        x.users.append(name)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        with self.step(name, "forward") as seen:
            seen.reads(x.value, weight, bias)
            y, inputs = zeros(*shape), padded(x.value, margin)
            for index in np.ndindex(shape):
                y[index] = bias[index[1]]
            for o, w, i in triples():
                y[o] = y[o] + weight[w] * inputs[i]
            seen.writes(y)
        out = Tensor(y)

        def back() -> None:
            if wanted:
                with self.step(name, "input_gradient") as seen:
                    seen.reads(out.gradient, weight)
                    dx = padded(zeros(*x.value.shape), margin)
                    for o, w, i in triples():
                        dx[i] = dx[i] + weight[w] * out.gradient[o]
                    self.give(seen, name, x, cropped(dx, margin))
            with self.step(name, "weight_gradient") as seen:
                seen.reads(out.gradient, x.value)
                inputs, d_weight, d_bias = padded(x.value, margin), zeros(*weight.shape), zeros(*bias.shape)
                for o, w, i in triples():
                    d_weight[w] = d_weight[w] + inputs[i] * out.gradient[o]
                for index in np.ndindex(shape):
                    d_bias[index[1]] = d_bias[index[1]] + out.gradient[index]
                seen.writes(d_weight)
                seen.writes(d_bias)
            self.weight_gradients |= {f"{name}.weight": d_weight, f"{name}.bias": d_bias}

        self.back.append(back)
        return out

    def conv(self, name: str, x: Tensor, *, stride: int = 1, wanted: bool = True) -> Tensor:
        b, c_in, h, w = x.value.shape
        c_out, _, kernel, _ = self.weights[f"{name}.weight"].shape
        shape = (b, c_out, h // stride, w // stride)
        margin = (0, 0) if kernel == 1 else (1, 1) if stride == 1 else (0, 1)

        def triples() -> Iterator[tuple[Any, Any, Any]]:
            taps = list(itertools.product(range(c_in), range(kernel), range(kernel)))
            for n, o, i, j in np.ndindex(shape):
                for c, u, v in taps:
                    yield (n, o, i, j), (o, c, u, v), (n, c, stride * i + u, stride * j + v)

        return self.linear(name, x, shape, triples, margin, wanted=wanted)

    def transposed(self, name: str, x: Tensor) -> Tensor:
        b, c_in, h, w = x.value.shape
        c_out = self.weights[f"{name}.weight"].shape[1]
        shape = (b, c_out, 2 * h, 2 * w)

        def triples() -> Iterator[tuple[Any, Any, Any]]:
            for n, o, i, j in np.ndindex(shape):
                for c in range(c_in):
                    yield (n, o, i, j), (c, o, i % 2, j % 2), (n, c, i // 2, j // 2)

        return self.linear(name, x, shape, triples)

    def dense(self, name: str, x: Tensor, *, wanted: bool = True) -> Tensor:
        shape = (x.value.shape[0], self.weights[f"{name}.weight"].shape[0])

        def triples() -> Iterator[tuple[Any, Any, Any]]:
            for n, o in np.ndindex(shape):
                for c in range(x.value.shape[1]):
                    yield (n, o), (o, c), (n, c)

        return self.linear(name, x, shape, triples, wanted=wanted)

    def group_norm(self, name: str, x: Tensor) -> Tensor:
        x.users.append(name)
        gamma, beta = self.weights[f"{name}.gamma"], self.weights[f"{name}.beta"]
        b, channels, h, w = x.value.shape
        width = channels // self.config.groups
        groups = [(n, range(g, g + width)) for n in range(b) for g in range(0, channels, width)]

        def entries(n: int, group: range) -> list[tuple[int, ...]]:
            return [(n, c, i, j) for c in group for i in range(h) for j in range(w)]

        def normalised() -> tuple[Numbers, dict[tuple[int, int], Number]]:
            found, scales = zeros(*x.value.shape), {}
            for n, group in groups:
                places = entries(n, group)
                count = Number(len(places))
                mean = total([x.value[p] for p in places]) / count
                off = [x.value[p] - mean for p in places]
                variance = total([d * d for d in off]) / count
                scales[n, group[0]] = ONE / (variance + Number(EPS)).of(math.sqrt)
                for p, d in zip(places, off, strict=True):
                    found[p] = d * scales[n, group[0]]
            return found, scales

        with self.step(name, "forward") as seen:
            seen.reads(x.value, gamma, beta)
            y, _ = normalised()
            for p in np.ndindex(y.shape):
                y[p] = y[p] * gamma[p[1]] + beta[p[1]]
            seen.writes(y)
        out = Tensor(y)

        def back() -> None:
            dy = out.gradient
            with self.step(name, "both"):
                x_hat, scales = normalised()
            with self.step(name, "input_gradient") as seen:
                seen.reads(x.value, dy, gamma)
                dx = zeros(*dy.shape)
                for n, group in groups:
                    places = entries(n, group)
                    count = Number(len(places))
                    scaled = [dy[p] * gamma[p[1]] for p in places]
                    mean = total(scaled) / count
                    along = total([a * x_hat[p] for a, p in zip(scaled, places, strict=True)]) / count
                    for p, a in zip(places, scaled, strict=True):
                        dx[p] = (a - mean - x_hat[p] * along) * scales[n, group[0]]
                self.give(seen, name, x, dx)
            with self.step(name, "weight_gradient") as seen:
                seen.reads(x.value, dy)
                d_gamma, d_beta = zeros(channels), zeros(channels)
                for p in np.ndindex(dy.shape):
                    d_gamma[p[1]] = d_gamma[p[1]] + dy[p] * x_hat[p]
                    d_beta[p[1]] = d_beta[p[1]] + dy[p]
                seen.writes(d_gamma)
                seen.writes(d_beta)
            self.weight_gradients |= {f"{name}.gamma": d_gamma, f"{name}.beta": d_beta}

        self.back.append(back)
        return out

    def embedding(self, name: str, t: NDArray[np.int32]) -> Tensor:
        if self.config.time_embedding == "learned":
            return self.table(name, t)
        half = self.config.base_channels // 2
        frequencies = numbers(10000.0 ** (-np.arange(half) / (half - 1)))
        with self.step(name, "forward") as seen:
            seen.reads(t, frequencies)
            phases = np.array([[Number(float(each)) * f for f in frequencies] for each in t])
            parts = [[[phase.of(function) for phase in row] for row in phases] for function in (math.sin, math.cos)]
            y = np.concatenate([np.array(part) for part in parts], axis=1)
            seen.writes(y)
        return Tensor(y)

    def table(self, name: str, t: NDArray[np.int32]) -> Tensor:
        rows = self.weights[f"{name}.embedding_table"]
        with self.step(name, "forward") as seen:
            y = rows[t]
            seen.reads(t, y)  # as much of the table as is written
            seen.writes(y)
        out = Tensor(y)

        def back() -> None:
            with self.step(name, "weight_gradient") as seen:
                seen.reads(t, out.gradient)
                gradient = zeros(*rows.shape)
                for n, each in enumerate(t):
                    gradient[each] = gradient[each] + out.gradient[n]
                seen.writes(gradient)
            self.weight_gradients[f"{name}.embedding_table"] = gradient

        self.back.append(back)
        return out

    # Layers without.

    def product(self, name: str, a: Tensor, b: Tensor, spelled: str) -> Tensor:
        """A product over pixels or channels of a head, `spelled` as for einsum with three letters each."""
        letters, outputs = spelled.split("->")
        first, second = letters.split(",")
        a.users.append(name)
        b.users.append(name)
        sizes = dict(zip(first + second, a.value.shape + b.value.shape, strict=True))

        def multiplied(x: Numbers, y: Numbers, one: str, two: str, out: str) -> Numbers:
            found = zeros(*(sizes[letter] for letter in out))
            order = sorted(sizes)
            for index in itertools.product(*(range(sizes[letter]) for letter in order)):
                at = dict(zip(order, index, strict=True))
                o, i, j = (tuple(at[letter] for letter in word) for word in (out, one, two))
                found[o] = found[o] + x[i] * y[j]
            return found

        with self.step(name, "forward") as seen:
            seen.reads(a.value, b.value)
            y = multiplied(a.value, b.value, first, second, outputs)
            seen.writes(y)
        out = Tensor(y)

        def back() -> None:
            dy = out.gradient
            with self.step(name, "input_gradient") as seen:
                seen.reads(dy, b.value)
                self.give(seen, name, a, multiplied(dy, b.value, outputs, second, first))
            with self.step(name, "weight_gradient") as seen:
                seen.reads(dy, a.value)
                self.give(seen, name, b, multiplied(a.value, dy, first, outputs, second))

        self.back.append(back)
        return out

    def moving(
        self,
        name: str,
        inputs: list[Tensor],
        forward: Callable[[], Numbers],
        backward: Callable[[Seen, Numbers], list[Numbers | None]],
        *,
        rereads: bool = True,
    ) -> Tensor:
        """A layer without weights; `backward` gives the gradient of each input, None where it is that of the output."""
        for x in inputs:
            x.users.append(name)
        with self.step(name, "forward") as seen:
            seen.reads(*(x.value for x in inputs))
            y = forward()
            seen.writes(y)
        out = Tensor(y)

        def back() -> None:
            dy = out.gradient
            with self.step(name, "input_gradient") as seen:
                gradients = backward(seen, dy)
                if any(gradient is not None for gradient in gradients):
                    seen.reads(dy)
                    if rereads:
                        seen.reads(*(x.value for x in inputs))
                for x, gradient in zip(inputs, gradients, strict=True):
                    if gradient is None:
                        x.gradients.append(dy)
                    else:
                        self.give(seen, name, x, gradient)

        self.back.append(back)
        return out

    def silu(self, name: str, x: Tensor) -> Tensor:
        def forward() -> Numbers:
            return each(lambda v: v / (ONE + (-v).of(math.exp)), x.value)

        def slope(v: Number, dy: Number) -> Number:
            s = ONE / (ONE + (-v).of(math.exp))
            return dy * (s * (ONE + v * (ONE - s)))

        return self.moving(name, [x], forward, lambda _, dy: [each(slope, x.value, dy)])

    def softmax(self, name: str, x: Tensor, scale: float) -> Tensor:
        kept: list[Numbers] = []

        def forward() -> Numbers:
            y = np.empty_like(x.value)
            for row in np.ndindex(x.value.shape[:-1]):
                scaled = [v * Number(scale) for v in x.value[row]]
                largest = reduce(Number.larger, scaled)
                powers = [(v - largest).of(math.exp) for v in scaled]
                whole = total(powers)
                y[row] = [power / whole for power in powers]
            kept.append(y)
            return y

        def backward(seen: Seen, dy: Numbers) -> list[Numbers | None]:
            (y,) = kept
            seen.reads(y)
            dx = np.empty_like(y)
            for row in np.ndindex(y.shape[:-1]):
                along = total([a * b for a, b in zip(y[row], dy[row], strict=True)])
                dx[row] = [a * (b - along) * Number(scale) for a, b in zip(y[row], dy[row], strict=True)]
            return [dx]

        return self.moving(name, [x], forward, backward, rereads=False)

    def add(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return self.moving(name, [a, b], lambda: a.value + b.value, lambda *_: [None, None])

    def add_vector(self, name: str, x: Tensor, vector: Tensor) -> Tensor:
        def summed(_: Seen, dy: Numbers) -> list[Numbers | None]:
            sums = zeros(*vector.value.shape)
            for p in np.ndindex(dy.shape):
                sums[p[:2]] = sums[p[:2]] + dy[p]
            return [None, sums]

        return self.moving(name, [x, vector], lambda: x.value + vector.value[:, :, None, None], summed, rereads=False)

    def concat(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        cut = a.value.shape[1]
        return self.moving(
            name, [a, b], lambda: np.concatenate([a.value, b.value], axis=1),
            lambda _, dy: [dy[:, :cut], dy[:, cut:]], rereads=False,
        )  # fmt: skip

    def repeat(self, name: str, x: Tensor) -> Tensor:
        def summed(_: Seen, dy: Numbers) -> list[Numbers | None]:
            dx = zeros(*x.value.shape)
            for n, c, i, j in np.ndindex(dy.shape):
                dx[n, c, i // 2, j // 2] = dx[n, c, i // 2, j // 2] + dy[n, c, i, j]
            return [dx]

        return self.moving(name, [x], lambda: x.value.repeat(2, 2).repeat(2, 3), summed, rereads=False)

    def max_pool(self, name: str, x: Tensor) -> Tensor:
        b, c, h, w = x.value.shape

        def largest() -> Numbers:
            y = zeros(b, c, h // 2, w // 2)
            for n, k, i, j in np.ndindex(y.shape):
                y[n, k, i, j] = reduce(Number.larger, x.value[n, k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel())
            return y

        def backward(_: Seen, dy: Numbers) -> list[Numbers | None]:
            found, dx = largest(), zeros(b, c, h, w)
            for p in np.ndindex(dx.shape):
                at = (*p[:2], p[2] // 2, p[3] // 2)
                dx[p] = dy[at] if x.value[p] is found[at] else dx[p]
            return [dx]

        return self.moving(name, [x], largest, backward)
