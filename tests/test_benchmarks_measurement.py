"""The record: what is read, what is refused, and that a file is whole or untouched."""

from __future__ import annotations

import copy
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measurement import (
    BenchmarkError,
    Measurement,
    check_record,
    from_pytest_benchmark,
    from_record,
    invalid_measurement,
    measurements,
    parse_json,
    read_record,
    write_record,
)


def row(**changes: Any) -> dict[str, Any]:
    given = {
        "case": "unet_forward[digits,b64]",
        "params": {"device": "CPU", "mode": "graph", "tuning": "tuned", "rounds": 3},
        "process": 0, "seconds": [0.2, 0.1, 0.3], "first_call_seconds": 2.0, "flops": 100, "peak_rss_bytes": 10**9,
        "cpu_over_wall": 1.9, "work": 64, "unit": "images", "import_seconds": 3.0, "proof": {}, "conditions": {},
        "invalid": None,
    }  # fmt: skip
    return {**given, **changes}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1, "kind": "bench", "created": "2026-01-01T00:00:00+00:00", "session": "s",
        "environment": {"code": "a"}, "measurements": [row()], "unavailable": [], "peaks": {}, "notes": [], **changes,
    }  # fmt: skip


def pytest_benchmark(**changes: Any) -> dict[str, Any]:
    """What pytest-benchmark 5.3.1 writes for one benchmark, as far as it is read, with the clock's entry."""
    clock = {name: value for name, value in row().items() if name not in ("seconds", "process")}
    benchmark = {
        "fullname": "benchmarks/test_unet.py::test_unet[x]", "extra_info": {"clock": clock},
        "stats": {"data": [0.2, 0.1, 0.3], "iterations": 1, "rounds": 3}, **changes,
    }  # fmt: skip
    return {"version": "5.3.1", "machine_info": {}, "benchmarks": [benchmark]}


def test_value_of_a_process_is_the_median_of_its_rounds() -> None:
    assert from_record(row()).value == 0.2


def test_measurement_survives_a_record() -> None:
    measurement = from_record(row())
    assert from_record(json.loads(json.dumps(measurement.as_record()))) == measurement


def test_cell_is_case_device_mode_and_tuning() -> None:
    assert from_record(row()).cell == ("unet_forward[digits,b64]", "CPU", "graph", "tuned")


@pytest.mark.parametrize("seconds", [["a"], [0.0], [-1.0], [True], 3.0, None, [math.inf]])
def test_seconds_that_are_no_durations_are_refused(seconds: Any) -> None:
    with pytest.raises(BenchmarkError, match="positive numbers"):
        from_record(row(seconds=seconds))


def test_row_without_seconds_must_say_why() -> None:
    with pytest.raises(BenchmarkError, match="does not say why"):
        from_record(row(seconds=[]))
    assert from_record(row(seconds=[], invalid="the sync canary failed")).seconds == ()


def test_row_that_lacks_a_field_is_refused_by_name() -> None:
    short = row()
    del short["flops"]
    with pytest.raises(BenchmarkError, match="lacks flops"):
        from_record(short)


def test_rounds_come_raw_and_in_order_from_pytest_benchmark() -> None:
    (measurement,) = from_pytest_benchmark(pytest_benchmark(), process=4)
    assert measurement.seconds == (0.2, 0.1, 0.3)
    assert measurement.process == 4


def test_failed_gate_takes_the_numbers_away() -> None:
    document = pytest_benchmark()
    document["benchmarks"][0]["extra_info"]["clock"]["invalid"] = "eps_hat is off"
    (measurement,) = from_pytest_benchmark(document)
    expected = from_record(row())
    assert measurement == invalid_measurement(
        expected.case, expected.params, 0, "eps_hat is off", work=expected.work, unit=expected.unit
    )


def test_what_a_gate_refused_stays_known_without_the_rest_of_the_proof() -> None:
    document = pytest_benchmark()
    refused = {"gate": {"refused": "eps_hat is off"}}
    document["benchmarks"][0]["extra_info"]["clock"] |= {
        "invalid": "eps_hat is off",
        "proof": {**refused, "device": "CPU"},
    }
    (measurement,) = from_pytest_benchmark(document)
    assert measurement.proof == refused
    assert measurement.seconds == ()


@pytest.mark.parametrize("version", ["6.0.0", "4.0.0", "50.1", ""])
def test_unknown_pytest_benchmark_is_refused_with_the_remedy(version: str) -> None:
    with pytest.raises(BenchmarkError, match="pytest-benchmark>=5,<6"):
        from_pytest_benchmark({**pytest_benchmark(), "version": version})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extra_info": {}}, "no entry of this clock"),
        ({"stats": {"iterations": 1, "rounds": 3}}, "no raw rounds"),
        ({"stats": {"data": [0.1, 0.2, 0.3], "iterations": 7}}, "several calls as one round"),
        ({"stats": {"data": [0.1] * 905, "iterations": 1}}, "asked for 3 rounds and has 905"),
    ],
)
def test_benchmark_that_was_not_timed_by_this_clock_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BenchmarkError, match=reason):
        from_pytest_benchmark(pytest_benchmark(**changes))


@pytest.mark.parametrize("document", [[], {}, {"version": "5.3.1"}, "text", None])
def test_other_json_is_not_taken_for_pytest_benchmarks(document: Any) -> None:
    with pytest.raises(BenchmarkError, match="not pytest-benchmark's JSON"):
        from_pytest_benchmark(document)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([1, 2], "not a record"),
        ({"a": 1}, "not a record"),
        (record(schema=2), "schema 2 and this version reads schema 1"),
        (record(schema="1"), "schema '1'"),
        (record(kind="verify"), "of kind 'verify', not 'bench'"),
        (record(environment=None), "no environment"),
        (record(measurements={}), "no list of measurements"),
        (record(measurements=[{"case": "x"}]), "lacks"),
        (record(measurements=["x"]), "must be an object, not str"),
    ],
)
def test_what_is_not_a_bench_record_is_refused_in_one_sentence(document: Any, reason: str) -> None:
    with pytest.raises(BenchmarkError, match=reason) as caught:
        check_record(document, source="old.json")
    assert "old.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_record_survives_a_file(tmp_path: Path) -> None:
    write_record(tmp_path / "bench.json", record())
    assert read_record(tmp_path / "bench.json") == record()
    assert measurements(record())[0] == from_record(row())


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_file_with_a_number_that_is_none_is_refused(constant: str) -> None:
    with pytest.raises(BenchmarkError, match=constant):
        parse_json(f'{{"seconds": [{constant}]}}', source="bench.json")


def test_nan_is_never_written_and_the_earlier_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_record(path, record())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(path, record(peaks={"matmul": {"best": math.nan}}))
    assert read_record(path) == record()
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]


def test_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"cannot write .*No such file or directory"):
        write_record(tmp_path / "absent" / "bench.json", record())


def test_write_that_fails_midway_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.json"
    write_record(path, record())
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(BenchmarkError, match="No space left"):
        write_record(path, record(notes=["new"]))
    assert read_record(path) == record()
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]


def full_disk(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe\x00", "is not text"), (b'{"schema": 1,', "is not JSON .*interrupted"), (b"", "is not JSON")],
)
def test_file_that_is_no_record_is_one_sentence(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=reason):
        read_record(path)


def test_compressed_record_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in ("bench.json.gz", "bench.json"):
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(record()).encode()))
        assert read_record(tmp_path / name) == record()
    (tmp_path / "plain.json.gz").write_text(json.dumps(record()))
    assert read_record(tmp_path / "plain.json.gz") == record()


WHOLE = gzip.compress(json.dumps({"schema": 1, "notes": list(range(1000))}).encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WHOLE[:2], "is compressed and not whole"),
        (WHOLE[:-1], "is compressed and not whole"),
        (WHOLE[: len(WHOLE) // 2], "is compressed and not whole"),
        (WHOLE[:200] + bytes([WHOLE[200] ^ 255]) + WHOLE[201:], "is compressed and not whole"),
        (WHOLE + b"more", "is compressed and not whole"),
        (gzip.compress(b"\xff\xfe\x00"), "is not text"),
        (gzip.compress(b"name,value"), "is not JSON"),
        (gzip.compress(b"{}"), "is not a record of ddpm-bench"),
    ],
)
def test_compressed_file_that_is_torn_or_foreign_is_one_sentence(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bench.json.gz"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=reason) as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_file_that_is_absent_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"cannot read .*No such file"):
        read_record(tmp_path / "absent.json")


def test_invalid_row_has_a_reason_and_no_number() -> None:
    invalid = invalid_measurement("x", {"mode": "graph"}, 1, "it died", work=4, unit="images")
    assert isinstance(invalid, Measurement)
    assert from_record(invalid.as_record()) == invalid
    numbers = (invalid.first_call_seconds, invalid.flops, invalid.peak_rss_bytes, invalid.cpu_over_wall)
    assert numbers == (None,) * 4


def test_checking_a_record_does_not_change_it() -> None:
    before = record()
    after = copy.deepcopy(before)
    check_record(after, source="x")
    assert after == before
