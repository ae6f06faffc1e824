"""Dropout that can be replayed: the mask is a function of a key, and the key is an argument.

MindSpore's own Dropout keeps the state of its generator inside the kernel, where it can be neither read nor set (2.7.0
to 2.10.0, CPU), so a training run that used it could not be continued bit for bit. Here entry i of an array is kept or
not by the bits of

    hash(i · 0x9E3779B1 + key),

with the finaliser of MurmurHash3 (Appleby 2011) as hash, in which every bit of the input flips every bit of the output
with probability near one half. NumPy draws one key a layer and step. 32-bit integers, whose products wrap.
"""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class KeyedDropout(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Zeroes each entry with probability `p` and divides the others by 1 − p, as `key` decides, while training.

    `construct(x)`: any shape, float32. `key`: a Parameter, () int32, to be set before each step, and in place, with
    `key.copy_`: what `set_data` does is not seen by a graph that is compiled already (2.10.0), or it reads memory that
    is no longer its own (2.7.0).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.key = Parameter(Tensor(0, mindspore.int32), requires_grad=False)
        self.scale = 1 / (1 - p)
        self.threshold = _int32(round(p * 2**32) - 2**31)

    def construct(self, x: Tensor) -> Tensor:
        """`x` after dropout."""
        if not self.training:
            return x
        index = ops.arange(0, x.size, 1).astype(mindspore.int32).reshape(x.shape)
        bits = mixed(index * GOLDEN + self.key)
        return x * (bits >= self.threshold).astype(x.dtype) * self.scale


def mixed(bits: Tensor) -> Tensor:
    """The finaliser of MurmurHash3, a bijection of 32 bits. `bits`: any shape, int32. Returns the same shape."""
    bits = folded(bits, SHIFT_16, LOW_16) * MIX_1
    bits = folded(bits, SHIFT_13, LOW_19) * MIX_2
    return folded(bits, SHIFT_16, LOW_16)


def folded(bits: Tensor, shift: Tensor, low: Tensor) -> Tensor:
    """The `bits` XOR themselves shifted right; `low` masks the copies of the sign, which int32 shifts in."""
    return ops.bitwise_xor(bits, ops.bitwise_and(ops.bitwise_right_shift(bits, shift), low))


def make_replayable(network: nn.Cell) -> list[Parameter]:
    """Put a `KeyedDropout` in the place of every `nn.Dropout` of `network` that drops anything. Returns their keys.

    To be called before `network` is compiled. The keys are Parameters, but no weights: take those before.
    """
    found = [
        (cell, name, child)
        for _, cell in network.cells_and_names()
        for name, child in cell.name_cells().items()
        if isinstance(child, nn.Dropout) and child.p > 0
    ]
    return [_replaced(cell, name, child, f"dropout_key_{i}") for i, (cell, name, child) in enumerate(found)]


def _replaced(cell: nn.Cell, name: str, dropout: nn.Dropout, key_name: str) -> Parameter:
    keyed = KeyedDropout(dropout.p)
    keyed.set_train(dropout.training)
    setattr(cell, name, keyed)
    keyed.key.name = key_name  # one graph cannot hold two Parameters of one name
    return keyed.key


def _int32(value: int) -> Tensor:
    return Tensor(np.uint32(value % 2**32).astype(np.int32), mindspore.int32)


GOLDEN, MIX_1, MIX_2 = _int32(0x9E3779B1), _int32(0x85EBCA6B), _int32(0xC2B2AE35)
SHIFT_16, LOW_16 = _int32(16), _int32(2**16 - 1)
SHIFT_13, LOW_19 = _int32(13), _int32(2**19 - 1)
