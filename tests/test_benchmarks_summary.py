"""From records to rows: what is averaged, what is refused, and when a timing counts as verified."""

from __future__ import annotations

import math

import pytest
import records

from benchmarks import summary


def row(*measurements: records.Record) -> summary.Row:
    (found,) = summary.rows(records.bench(*measurements))
    return found


def test_row_is_the_geometric_mean_of_process_medians() -> None:
    two = row(records.measurement(seconds=[1.0, 1.0, 9.0]), records.measurement(process=1, seconds=[4.0, 4.0, 0.1]))
    assert two.seconds == pytest.approx(2.0, rel=1e-15)


def test_interval_is_students_on_logarithms_of_processes_that_remember() -> None:
    two = row(records.measurement(seconds=[1.0]), records.measurement(process=1, seconds=[math.e]))
    # two logs 0 and 1: mean 1/2, standard error 1/2, t(0.975, 1) = tan(0.475 pi) = 12.7062; the variance of the mean of
    # two that remember by a half is (1 + 1/2) / (1 - 1/2) = 3 times the one that their difference shows
    half = math.sqrt(3) * math.tan(0.475 * math.pi) / 2
    assert two.interval == pytest.approx((math.exp(0.5 - half), math.exp(0.5 + half)), rel=1e-9)
    assert not two.unmet


def test_processes_that_agree_may_all_have_missed_a_second_speed() -> None:
    alike = row(*(records.measurement(process=i, seconds=[1 + 1e-5 * i]) for i in range(3)))
    assert alike.interval == pytest.approx((math.exp(-0.0175), math.exp(0.0175)), rel=1e-4)
    assert alike.unmet


def test_one_process_has_no_interval_and_detects_nothing() -> None:
    one = row(records.measurement())
    assert one.interval is None
    assert one.detectable is None


def test_rates_follow_from_work_and_operations() -> None:
    one = row(records.measurement(seconds=[0.5]))
    assert one.rate == pytest.approx(8.0)
    assert one.flops_per_second == pytest.approx(2 * 49_774_854_144)
    assert one.fraction_of_peak == pytest.approx(2 * 49_774_854_144 / 1.9e11)


def test_compile_time_leaves_the_steady_call_out() -> None:
    assert row(records.measurement(seconds=[0.5], first_call_seconds=6.0)).compile_seconds == pytest.approx(5.5)


def test_invalid_processes_give_a_reason_and_no_number() -> None:
    bad = row(records.measurement(seconds=[], invalid="zeros came back"))
    assert bad.seconds is None
    assert bad.rate is None
    assert bad.invalid == ("zeros came back",)


def test_modes_are_rows_of_their_own() -> None:
    other = records.measurement(params={"device": "CPU", "mode": "pynative", "tuning": "tuned", "rounds": 3})
    assert [r.mode for r in summary.rows(records.bench(records.measurement(), other))] == ["graph", "pynative"]


def test_timing_is_verified_by_a_passing_record_of_the_same_code_and_machine() -> None:
    assert summary.verified(records.verify(records.finding()), records.bench()) is None


@pytest.mark.parametrize("key", ["code", "mindspore", "numpy", "cpu"])
def test_timing_is_unverified_when_what_was_verified_differs(key: str) -> None:
    reason = summary.verified(records.verify(records.finding(), **{key: "other"}), records.bench())
    assert reason is not None
    assert key in reason


NORM, CLIP = {"env.DDPM_BENCH_OPERATORS": "norm@CPU"}, {"env.DDPM_BENCH_OPERATORS": "clip"}
TUNED = {"tuning.tuned": "DDPM_BENCH_OPERATORS=norm@CPU ONEDNN_MAX_CPU_ISA=AVX2"}


@pytest.mark.parametrize(
    ("judged", "timed", "stands"),
    [
        ({}, {}, True),
        ({"env.DDPM_BENCH_OPERATORS": "native"}, {}, True),
        (NORM, NORM, True),
        (NORM, TUNED, True),
        (NORM, {**TUNED, "tuning.stock": ""}, True),
        ({}, TUNED, False),
        ({}, {**TUNED, "tuning.stock": ""}, False),
        (NORM, {"tuning.stock": ""}, False),
        (NORM, CLIP, False),
    ],
)
def test_timing_is_verified_only_with_the_operators_that_were_judged(
    judged: dict[str, str], timed: dict[str, str], stands: bool
) -> None:
    bench = records.bench()
    bench["environment"] |= timed
    reason = summary.verified(records.verify(records.finding(), **judged), bench)
    assert reason is None if stands else reason is not None and "operators" in reason


@pytest.mark.parametrize("status", ["failed", "error", "skipped", "unexpected_pass"])
def test_timing_is_unverified_when_a_check_did_not_pass(status: str) -> None:
    reason = summary.verified(records.verify(records.finding(), records.finding("KL-1", status)), records.bench())
    assert reason is not None
    assert "KL-1" in reason


def test_timing_is_unverified_without_findings() -> None:
    assert summary.verified(None, records.bench()) is not None
    assert summary.verified(records.verify(), records.bench()) is not None


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([records.measurement()], 0),
        ([records.measurement(), records.measurement(case="other", seconds=[], invalid="zeros came back")], 1),
        ([], 3),
    ],
)
def test_run_of_the_clock_without_a_number_is_no_success(rows: list[records.Record], code: int) -> None:
    assert summary.exit_code(records.bench(*rows)) == code


def test_percentiles_are_over_the_rounds_of_all_processes() -> None:
    found = row(records.measurement(), records.measurement(process=1)).percentiles
    assert [(each.name, each.calls) for each in found] == [("p50", 6), ("p90", 6), ("p99", 6)]
    assert (found[0].low, found[0].high, found[1].value) == (0.5, 0.52, None)
