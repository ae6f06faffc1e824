"""Parts of a network exchanged for those that compute the same in another way: `operators.py` says which and why.

The network is built as the paper has it (`unet.py`). Afterwards single Cells are taken out and others put in, which
hold the very Parameters of those they replace: names, weights and whoever holds them stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspore import nn

from ddpm_bench.group_norm import ComposedGroupNorm, Normalise
from ddpm_bench.operators import Operators
from ddpm_bench.unet_blocks import Nearest
from ddpm_bench.upsampling import FoldedNearest
from ddpm_bench.winograd import WinogradConvolution, suits

Make = Callable[[Any], nn.Cell]


def exchanged(network: nn.Cell, ways: Operators) -> nn.Cell:
    """The `network` itself, which goes the `ways` from now on; a single part is returned as another Cell.

    To be called before it is compiled. A Cell whose `construct` somebody has replaced is left alone: it no longer
    computes what its class does.
    """
    makes: dict[type[nn.Cell], Make] = {}
    if ways.norm:
        # One for all norms: with one each, compiling a training step of the paper's net took 28 s instead of 21.
        shared: dict[tuple[int, float], Normalise] = {}

        def composed(norm: nn.GroupNorm) -> nn.Cell:
            key = (norm.num_groups, norm.eps)
            return ComposedGroupNorm.like(norm, shared.setdefault(key, Normalise(*key)))

        makes[nn.GroupNorm] = composed
    if ways.upsample:
        makes[Nearest] = FoldedNearest.like

    if ways.conv:
        tiles = ways.conv // 2  # 64 columns make a product with 128 rows worth it, 16 do not
        makes[nn.Conv2d] = lambda conv: (
            WinogradConvolution.like(conv, fewest_tiles=tiles) if suits(conv, ways.conv) else conv
        )

    def other(cell: nn.Cell) -> nn.Cell:
        make = makes.get(type(cell))
        return cell if make is None or "construct" in vars(cell) else make(cell)

    whole = other(network)
    if whole is not network:
        _move(network, whole)
        return whole
    children = [(cell, *child) for _, cell in network.cells_and_names() for child in cell.name_cells().items()]
    out: set[int] = set()
    for cell, name, old in children:
        new = other(old) if id(cell) not in out else old
        if new is not old:
            setattr(cell, name, new)  # before the Parameters move in: it would give them longer names
            _move(old, new)
            out.add(id(old))
    return network


def _move(old: nn.Cell, new: nn.Cell) -> None:
    """Let `new` hold the Parameters of `old`, and train if it does."""
    new.set_train(old.training)
    places = dict(new.cells_and_names())
    for path, parameter in list(old.parameters_and_names()):
        within, _, attribute = path.rpartition(".")
        setattr(places[within], attribute, parameter)
