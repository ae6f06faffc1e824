from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from ddpm_bench.device import MODES, compiled
from ddpm_bench.dropout import KeyedDropout, make_replayable
from ddpm_bench.unet import UNet, preset

P = 0.3
SHAPE = (4, 5, 50, 60)
N = 60_000

Dropped = Callable[[int], NDArray[np.float32]]


@pytest.fixture(scope="module", params=MODES)
def dropped(request: pytest.FixtureRequest) -> Dropped:
    """What becomes of an array of ones under a given key."""
    layer = KeyedDropout(P)
    layer.set_train(True)
    function = compiled(layer, request.param)
    ones = Tensor(np.ones(SHAPE), mindspore.float32)

    def run(key: int) -> NDArray[np.float32]:
        layer.key.copy_(Tensor(key, mindspore.int32))
        result: NDArray[np.float32] = function(ones).asnumpy()
        return result

    return run


def murmur(key: int) -> NDArray[np.uint32]:
    """The hash as its author wrote it, on unsigned integers."""
    h = np.arange(N, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def test_mask_is_the_hash_of_index_and_key(dropped: Dropped) -> None:
    """Signed order puts the upper half of the unsigned numbers first."""
    for key in (0, 12345):
        signed = murmur(key).astype(np.int32).astype(np.int64)
        kept = (signed >= round(P * 2**32) - 2**31).reshape(SHAPE)
        assert np.array_equal(dropped(key) != 0, kept)


def test_kept_entries_are_divided_by_the_share_that_is_kept(dropped: Dropped) -> None:
    values = dropped(1)
    assert np.unique(values).tolist() == [0, pytest.approx(1 / (1 - P), rel=2**-23)]


def test_masks_have_the_rate_and_are_independent_of_neighbours_and_keys(
    dropped: Dropped,
) -> None:
    """Counts of drops, and of pairs dropped, are binomial if the hash is good.

    Each of the 19 counts is within 6 standard deviations but for 2e-9; a rate 2 % off, or a pair correlation of 0.03,
    is more than 7 away. The keys are fixed: the test passes always or never.
    """
    masks = [dropped(key).ravel() == 0 for key in (0, 1, 2, -1, 2**31 - 1)]
    pairs = [(mask, np.roll(mask, shift)) for mask in masks for shift in (1, 60)] + list(itertools.pairwise(masks))
    counts = [(mask.sum(), P) for mask in masks] + [((a & b).sum(), P * P) for a, b in pairs]
    for count, rate in counts:
        assert abs(count - N * rate) < 6 * np.sqrt(N * rate * (1 - rate))


def test_nothing_is_dropped_outside_training() -> None:
    layer = KeyedDropout(P)
    layer.set_train(False)
    ones = Tensor(np.ones((2, 3)), mindspore.float32)
    assert (layer(ones).asnumpy() == 1).all()


def test_gradient_goes_only_through_what_is_kept() -> None:
    layer = KeyedDropout(P)
    layer.set_train(True)

    def total(x: Any) -> Any:
        return ops.sum(layer(x))

    x = Tensor(np.full((30,), 2.0), mindspore.float32)
    gradient = mindspore.grad(total)(x).asnumpy()
    assert np.array_equal(gradient * 2, layer(x).asnumpy())
    assert (gradient == 0).any()


def test_every_dropout_that_drops_is_replaced_and_no_weight_is_touched() -> None:
    network = UNet(preset("digits", dropout=0.1))
    names = [name for name, _ in network.parameters_and_names()]
    keys = make_replayable(network)
    blocks = [name for name in names if name.endswith("conv_2.weight")]
    assert len(keys) == len(blocks) > 0
    assert len({key.name for key in keys}) == len(keys)
    assert not [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.Dropout)]
    assert [name for name, p in network.parameters_and_names() if not any(p is key for key in keys)] == names


def test_network_without_dropout_stays_as_it_is() -> None:
    assert make_replayable(UNet(preset("digits"))) == []
