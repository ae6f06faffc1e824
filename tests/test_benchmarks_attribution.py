"""A difference is divided among the kinds of layers, and what is left over is said."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import attribution
from benchmarks.measurement import SCHEMA

WHERE = {"device": "CPU", "mode": "graph", "tuning": "stock"}


def record(total: float, layers: dict[str, tuple[str, float]]) -> dict[str, Any]:
    row = {
        "case": "unet_forward[tiny]", "params": dict(WHERE), "process": 0,
        "seconds": [total * k for k in (0.9, 1, 1.3)],
        "first_call_seconds": 1.0, "flops": None, "peak_rss_bytes": None, "cpu_over_wall": None, "work": 1.0,
        "unit": "images", "import_seconds": 1.0, "proof": {},
    }  # fmt: skip
    return {
        "schema": SCHEMA, "kind": "bench", "environment": {}, "measurements": [row],
        "layers": [
            {"case": row["case"], **WHERE, "layer": name, "kind": kind, "seconds": [s, 0.9 * s, 2 * s], "flops": 0,
             "bytes": 0}
            for name, (kind, s) in layers.items()
        ],
    }  # fmt: skip


OLD = {"a": ("conv3x3", 0.010), "b": ("conv3x3", 0.020), "c": ("silu", 0.005)}


def test_the_slower_kind_comes_first_and_explains_the_difference() -> None:
    new = {**OLD, "a": ("conv3x3", 0.110), "b": ("conv3x3", 0.220)}
    (found,) = attribution.attribute(record(0.040, OLD), record(0.345, new))
    assert found.parts[0].kind == "conv3x3"
    assert found.parts[0].layers == 2
    assert found.parts[0].ratio == pytest.approx(11)
    assert found.left == pytest.approx(0.305 - 0.300)
    assert found.explained == pytest.approx(1 - 0.005 / 0.305)
    assert attribution.unexplained([found]) == []


def test_what_no_layer_accounts_for_is_said() -> None:
    (found,) = attribution.attribute(record(0.040, OLD), record(0.080, OLD))
    assert found.left == pytest.approx(0.040)
    assert found.explained == pytest.approx(0)
    assert attribution.unexplained([found]) == [found]


def test_parts_that_explain_too_much_are_no_better() -> None:
    """Layers 60 ms slower in a net that is only 40 ms slower: a half is left, with the other sign."""
    new = {**OLD, "a": ("conv3x3", 0.070)}
    (found,) = attribution.attribute(record(0.040, OLD), record(0.080, new))
    assert found.explained == pytest.approx(0.5)


def test_a_layer_only_one_build_has_counts_in_full() -> None:
    new = {name: OLD[name] for name in ("a", "b")}
    (found,) = attribution.attribute(record(0.040, OLD), record(0.035, new))
    silu = next(part for part in found.parts if part.kind == "silu")
    assert (silu.old, silu.new) == (0.005, 0)


def test_a_cell_without_layers_is_left_out() -> None:
    assert attribution.attribute(record(0.04, OLD), record(0.04, {})) == []
