"""A machine's peaks: the fastest call counts, bytes where it copies, and an end that was none is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.cases import Case
from benchmarks.measurement import Measurement, invalid_measurement
from benchmarks.peaks import Peaks

CASES = (
    Case("matmul[numpy]", {"library": "numpy"}, "m:f", 1, "products", 3),
    Case("copy[mindspore]", {"library": "mindspore"}, "m:f", 600, "bytes", 3),
)


def found(case: str, **changes: Any) -> Measurement:
    row = invalid_measurement(case, {}, 0, "it died", work=1, unit="products")
    return replace(row, **{"seconds": (0.5, 0.25), "flops": 1000, "invalid": None, **changes})


def both() -> Peaks:
    peaks = Peaks(CASES, ["stock", "tuned"])
    for moment, seconds in (("start", (0.5, 0.25)), ("end", (0.2, 0.5))):
        peaks.add([found("matmul[numpy]", seconds=seconds)], "CPU", moment)
    return peaks


def test_fastest_call_is_the_peak_and_the_best_of_both_moments_the_machines() -> None:
    assert both().as_record() == {"matmul[numpy]": {"start": 4000.0, "end": 5000.0, "best": 5000.0}}


def test_copy_counts_bytes_and_another_device_has_a_name_of_its_own() -> None:
    peaks = Peaks(CASES, ["stock"])
    peaks.add([found("copy[mindspore]", unit="bytes", work=600, flops=None)], "Ascend", "start")
    assert peaks.as_record() == {"copy[mindspore] on Ascend": {"start": 2400.0, "best": 2400.0}}
    assert peaks.known("Ascend", "start")
    assert not peaks.known("CPU", "start")
    assert not peaks.known("Ascend", "end")


def test_failed_worker_gives_no_peak() -> None:
    peaks = Peaks(CASES, ["stock"])
    peaks.add([found("matmul[numpy]", seconds=(), invalid="it died")], "CPU", "start")
    assert peaks.as_record() == {}


def test_peak_is_found_under_the_last_setting_and_numpy_only_on_a_cpu() -> None:
    job = Peaks(CASES, ["stock", "tuned"]).job("GPU")
    assert (job.tuning, [case.id for case in job.cases]) == ("tuned", ["copy[mindspore]"])


def test_record_is_taken_up_and_its_end_can_be_forgotten() -> None:
    again = Peaks(CASES, ["stock"])
    again.take_up(both().as_record())
    assert again.as_record() == both().as_record()
    again.forget_end()
    assert again.as_record() == {"matmul[numpy]": {"start": 4000.0, "best": 4000.0}}
