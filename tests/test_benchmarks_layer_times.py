"""Rows of single operators, laid out along the network they come from."""

from __future__ import annotations

import pytest
import records

from benchmarks.breakdown import explanations
from benchmarks.layer_times import layers, wanted
from benchmarks.measurement import Measurement, measurements
from benchmarks.operators import NETS, Operator, parts
from benchmarks.roofline import least_seconds_of_pass
from benchmarks.selection import choose
from benchmarks.terminal import explained

CHOSEN = choose("unet_forward[digits,*]", layers=True)


def rows(seconds: float = 1e-3, processes: int = 2) -> list[Measurement]:
    """Every operator of the digits net: a run takes `seconds`, in the second process twice that."""
    made = [
        records.measurement(
            case.id, process, params={**case.params, "device": "CPU", "mode": "graph", "tuning": "tuned"},
            seconds=[(1 + process) * seconds * case.work] * 3, unit="calls", work=case.work,
        )
        for case in wanted(CHOSEN)
        for process in range(processes)
    ]  # fmt: skip
    return list(measurements(records.bench(*made)))


def test_every_part_gets_the_seconds_of_one_run_of_its_operator() -> None:
    found = layers(rows())
    assert [(entry["layer"], entry["kind"]) for entry in found] == [
        (path, operator.kind) for path, operator in parts(NETS["digits"], 64)
    ]
    for entry in found:
        assert entry["seconds"] == pytest.approx([1e-3, 2e-3])
        assert (entry["case"], entry["mode"]) == ("unet_forward[digits,b64]", "graph")


def test_a_net_with_a_hole_explains_nothing() -> None:
    assert layers(row for row in rows() if not row.case.startswith("upsample")) == []
    assert layers([]) == []


def test_parts_between_and_whole_add_up() -> None:
    every = [row.as_record() for row in rows(processes=1)]
    params = {"device": "CPU", "mode": "graph", "tuning": "tuned"}
    whole = records.measurement("unet_forward[digits,b64]", params=params, seconds=[0.2] * 3)
    record = records.bench(*every, whole)
    record["layers"] = layers(measurements(record))
    (found,) = explanations(record)
    count = len(parts(NETS["digits"], 64))
    assert found.parts == pytest.approx(count * 1e-3)
    assert found.between == pytest.approx(0.2 - count * 1e-3)
    assert sum(kind.layers for kind in found.kinds) == count
    assert sum(kind.flops for kind in found.kinds) == sum(o.flops for _, o in parts(NETS["digits"], 64))
    assert [kind.seconds for kind in found.kinds] == sorted((kind.seconds for kind in found.kinds), reverse=True)


def test_parts_at_the_peaks_take_what_the_roofline_says() -> None:
    """No more than layer by layer, and hardly less: a self-attention is one part here and nine layers there."""
    record = records.bench(*(row.as_record() for row in rows()))
    record["layers"] = layers(measurements(record))
    assert explanations(record)[0].least is None, "copying was not measured"
    record["peaks"]["copy[numpy]"] = {"start": 9e9, "end": 1e10, "best": 1e10}
    (found,) = explanations(record)
    by_layers = least_seconds_of_pass(NETS["digits"], "forward", 64, peak_flops=1.9e11, peak_bytes=1e10)
    assert found.least is not None
    assert 0.9 * by_layers < found.least < by_layers
    assert "at the measured peaks, everything through memory" in str(explained(record)[0].caption)


def test_operators_alone_have_no_whole_to_explain() -> None:
    record = records.bench(*(row.as_record() for row in rows()))
    record["layers"] = layers(measurements(record))
    (found,) = explanations(record)
    assert found.whole is None
    assert found.between is None


def test_operator_is_read_back_from_its_case() -> None:
    for case in wanted(CHOSEN):
        assert Operator.of(case.params).case("digits") == case
