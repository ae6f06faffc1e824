"""A difference is divided among the kinds of layers, and what is left over is said."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import attribution
from benchmarks.attribution import Part
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


CELL = ("unet_forward[tiny]", "CPU", "graph", "stock")


def divided(old: dict[str, Any], new: dict[str, Any], **kernels: Part) -> attribution.Attribution:
    (found,) = attribution.attribute(old, new, [CELL], {CELL: tuple(kernels.values())})
    return found


def test_the_slower_kind_comes_first_and_all_sum_to_the_difference() -> None:
    new = {**OLD, "a": ("conv3x3", 0.110), "b": ("conv3x3", 0.220)}
    found = divided(record(0.040, OLD), record(0.345, new))
    assert found.parts[0].kind == "conv3x3"
    assert found.parts[0].count == 2
    assert found.parts[0].ratio == pytest.approx(11)
    assert found.left(found.parts) == pytest.approx(0.305 - 0.300)
    assert found.share(found.parts) == pytest.approx(0.300 / 0.305)


def test_what_no_layer_accounts_for_is_left() -> None:
    found = divided(record(0.040, OLD), record(0.080, OLD))
    assert found.left(found.parts) == pytest.approx(0.040)
    assert found.share(found.parts) == pytest.approx(0)


def test_layers_that_lose_more_by_themselves_are_seen_beside_kernels_that_do_not() -> None:
    """Layers 60 ms slower in a net that is only 40 ms slower, of which its kernels say 38."""
    new = {**OLD, "a": ("conv3x3", 0.070)}
    found = divided(
        record(0.040, OLD), record(0.080, new), silu=Part("eltwise", 9, 0.001, 0.002), conv=Part("conv", 9, 0.03, 0.067)
    )
    assert found.share(found.parts) == pytest.approx(1.5)
    assert found.left(found.parts) == pytest.approx(-0.020)
    assert found.share(found.kernels) == pytest.approx(38 / 40)
    assert [kernel.kind for kernel in found.kernels] == ["conv", "eltwise"]


def test_a_layer_only_one_build_has_counts_in_full() -> None:
    new = {name: OLD[name] for name in ("a", "b")}
    found = divided(record(0.040, OLD), record(0.035, new))
    silu = next(part for part in found.parts if part.kind == "silu")
    assert (silu.old, silu.new) == (0.005, 0)


def test_nothing_is_divided_that_was_not_asked_for_or_has_no_parts() -> None:
    with_layers, without = record(0.04, OLD), record(0.04, {})
    assert attribution.attribute(with_layers, with_layers, [], {}) == []
    assert attribution.attribute(with_layers, without, [CELL], {}) == []
    (found,) = attribution.attribute(with_layers, without, [CELL], {CELL: [Part("conv", 1, 0.01, 0.02)]})
    assert (found.parts, len(found.kernels)) == ((), 1)


def test_equal_times_have_no_shares() -> None:
    found = divided(record(0.040, OLD), record(0.040, OLD))
    assert found.share(found.parts) is None
