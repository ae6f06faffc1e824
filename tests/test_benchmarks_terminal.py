"""The table of timings in the terminal."""

from __future__ import annotations

import io

import records
from rich.console import Console

from benchmarks.terminal import table, verdicts


def shown(record: records.Record) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(table(record))
    return out.getvalue()


def test_row_shows_figure_interval_and_rate() -> None:
    text = shown(records.bench(records.measurement(), records.measurement(process=1)))
    assert "unet_forward[cifar10,b4]" in text
    assert "501 ms … 519 ms (two speeds)" in text
    assert "7.84 images/s" in text


def test_invalid_row_shows_its_reason_and_no_rate() -> None:
    text = shown(records.bench(records.measurement(seconds=[], invalid="zeros came back")))
    assert "zeros came back" in text
    assert "images/s" not in text


def test_brackets_in_names_are_not_read_as_markup() -> None:
    record = records.bench()
    record["unavailable"] = [{"device": "CPU", "mode": "graph", "case": "step[digits,b64]", "reason": "late"}]
    assert "step[digits,b64] on CPU, graph: late" in shown(record)


def test_latency_shows_the_percentiles_that_its_calls_bound_and_why_not_the_others() -> None:
    calls = [0.5 + i / 1000 for i in range(40)]
    record = records.bench(records.measurement("sampling_latency[digits,b64]", seconds=calls, unit="steps"))
    text = " ".join(shown(record).split())  # the caption is folded
    assert "sampling_latency[digits,b64], graph: p50 519 ms (95 %: 513 ms … 526 ms)" in text
    assert "p90 535 ms (95 %: 531 ms … 539 ms)" in text
    assert "p99 n/a: 40 calls cannot bound it, 299 could" in text


def test_peaks_are_said_where_copying_was_measured() -> None:
    record = records.bench(records.measurement())
    assert "peaks" not in shown(record)
    record["peaks"]["copy[numpy]"] = {"start": 9e9, "end": 1e10, "best": 1e10}
    record["peaks"]["convolution[mindspore]"] = {"start": 9e12, "end": 9e12, "best": 9e12}
    text = " ".join(shown(record).split())
    assert "peaks: 190 GFLOP/s of matrix products, 10.0 GB/s copied" in text
    assert "51%" in text, "a fast convolution is no matrix product"


def test_what_is_no_latency_shows_no_percentiles() -> None:
    assert "p50" not in shown(records.bench(records.measurement()))


def test_percentile_that_is_bounded_from_above_only_says_so() -> None:
    """Of 30 calls the largest is beyond the p90 in 1 − 0.9³⁰ = 95.8 %: enough for one end, not for one of two."""
    calls = [0.5 + i / 1000 for i in range(30)]
    record = records.bench(records.measurement("sampling_latency[digits,b64]", seconds=calls, unit="steps"))
    assert "p90 526 ms (95 %: at most 529 ms)" in " ".join(shown(record).split())


def test_verdict_shows_what_a_call_took_on_either_side() -> None:
    verdict = {
        "case": "unet_forward[a]", "label": "slower", "ratio": 1.0625, "why": "it is", "seconds": [0.032, 0.034],
        "params": {"device": "CPU", "mode": "graph", "against": "PyTorch"},
    }  # fmt: skip
    (line,) = verdicts({"verdicts": [verdict]})
    assert line == "slower        unet_forward[a] (CPU, graph, PyTorch): 32.0 ms → 34.0 ms, 1.0625, it is"
    (without,) = verdicts({"verdicts": [{**verdict, "label": "incomparable", "ratio": None, "seconds": None}]})
    assert without == "incomparable  unet_forward[a] (CPU, graph, PyTorch): it is"
