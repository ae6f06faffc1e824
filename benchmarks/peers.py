"""The same network in PyTorch, timed beside this one: who, what, and what came of it. Imports no framework.

The peer is `diffusers.UNet2DModel` in the paper's configuration, with the very weights of this project's network
(`peer_network.py`), as PyTorch runs it in each of the ways its users choose from (`PEERS`). Its workers take turns with
MindSpore's in one comparison (`duel.py`), each call of either is held against the float64 reference, and the verdict of
each pair of them is the usual one: old is the peer, new is MindSpore, so a ratio above 1 says that MindSpore is slower.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.cases import CASES, Case, select
from benchmarks.compare import compare_records
from benchmarks.measurement import BenchmarkError, Record

if TYPE_CHECKING:
    from benchmarks.arms import Arm

WORD = "peers"
"""Among the patterns of `bench --only`, what asks for this."""

MODULE = "benchmarks.test_peers"
"""Where the peers' calls are made; its makers are called as those of this project's calls."""

OURS = "MindSpore"

NEEDED = ("torch", "diffusers")
"""Packages of the extra `peers`."""


@dataclass(frozen=True)
class Peer:
    """One way in which PyTorch runs a network."""

    compiled: bool = False
    """by `torch.compile`; otherwise operator by operator"""
    channels_last: bool = False
    """images and weights in memory as (B, H, W, C); otherwise as (B, C, H, W)"""


PEERS = {
    "PyTorch": Peer(),
    "PyTorch channels-last": Peer(channels_last=True),
    "PyTorch compiled": Peer(compiled=True),
    "PyTorch compiled channels-last": Peer(compiled=True, channels_last=True),
}

TIMED = ("unet_forward", "training_step", "reverse_step")
"""The cases that exist on both sides, as their ids begin."""


def asked(pattern: str | None) -> bool:
    """Whether a pattern of `bench --only` asks for peers."""
    return WORD in (pattern or "").split()


def choose(pattern: str, cases: Sequence[Case] = CASES) -> tuple[Case, ...]:
    """The cases that `pattern` asks peers for: of those that peers have, what its other words match.

    Without other words they are the paper's net at batch 4.
    """
    others = " ".join(word for word in pattern.split() if word != WORD)
    known = [case for case in cases if case.id.partition("[")[0] in TIMED and case.params.get("dtype") is None]
    return select(others or "*[cifar10,b4]", known)


def absent() -> str | None:
    """Why there can be no peers here, in a sentence; None where their packages are installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"peers need {' and '.join(missing)}, which this Python does not have: pip install 'ddpm-bench[peers]'"


def arms(ours: Arm) -> tuple[Arm, ...]:
    """All sides of the comparison: `ours`, and every peer by the same interpreter."""
    return (replace(ours, label=OURS), *(replace(ours, label=name, peer=name) for name in PEERS))


def theirs(case: Case) -> Case:
    """The `case` as a peer's worker makes it."""
    return replace(case, make=f"{MODULE}:{case.maker}")


def compared(records: Mapping[str, Record], effect: float, *, most: int | None) -> Record:
    """One compare record: MindSpore against each peer, whose name is "against" in each verdict's params.

    `most` as in `compare_records`. Raises `BenchmarkError` where nothing of a peer was measured.
    """
    ours = records[OURS]
    found = {
        name: compare_records(records[name], ours, effect, most=most) for name in PEERS if records[name]["measurements"]
    }
    if not found:
        raise BenchmarkError("no peer was measured: give a larger --budget")
    first = next(iter(found.values()))
    verdicts = [
        {**verdict, "params": {**verdict["params"], "against": name}}
        for name, record in found.items()
        for verdict in record["verdicts"]
    ]
    order = {case: i for i, case in enumerate(dict.fromkeys(verdict["case"] for verdict in verdicts))}
    return {**first, "verdicts": sorted(verdicts, key=lambda verdict: order[verdict["case"]])}


def exit_code(comparison: Record) -> int:
    """0 when every peer was compared, however it came out; 3 when one stays open or could not be."""
    labels = {verdict["label"] for verdict in comparison["verdicts"]}
    return 3 if labels & {"inconclusive", "incomparable"} else 0
