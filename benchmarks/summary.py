"""From records to the numbers a person reads: one `Row` a cell, each number derivable from the record alone.

A process is the sample (its value is the median of its rounds), so a row's figure is the mean of the logarithms of its
processes' values, with an interval over processes (`intervals.one_arm`). With one process there is no interval, and
with none no number; both are said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import intervals
from benchmarks.estimate import minimum_detectable_effect, of_two_arms
from benchmarks.measurement import Measurement, Record, measurements
from benchmarks.percentiles import Percentile, percentiles

NATIVE = "native"
"""What `DDPM_BENCH_OPERATORS` means where it is not set: MindSpore's own operators."""

CONFIDENCE = 0.95
"""Coverage that the intervals of the report aim at."""


@dataclass(frozen=True)
class Row:
    """One cell (case, device, mode, tuning) over its processes. Times in seconds a call, rates per second."""

    case: str
    device: str
    mode: str
    tuning: str
    work: float
    unit: str
    processes: tuple[float, ...]
    """each process's value: the median of its rounds"""
    rounds: tuple[tuple[float, ...], ...]
    """every round of every process, raw"""
    first_call: float | None
    import_seconds: float | None
    flops: int | None
    peak: float | None
    """FLOP/s of the fastest measured matrix product on this machine"""
    peak_rss_bytes: int | None
    cpu_over_wall: float | None
    invalid: tuple[str, ...]
    cold: float | None = None
    """seconds of compiling in a process that found nothing compiled, of those that looked for it; the median"""
    warm: float | None = None
    """seconds in one that found its graphs compiled by an earlier process"""

    @property
    def label(self) -> str:
        """Case and mode, as plots name the row."""
        return f"{self.case} {self.mode}"

    @property
    def seconds(self) -> float | None:
        """Geometric mean of the processes' values; None for none."""
        if self._level is None:
            return self.processes[0] if self.processes else None
        return math.exp(self._level.centre)

    @property
    def _level(self) -> intervals.Interval | None:
        """Of the logarithms of the processes' values; None below two."""
        if len(self.processes) < 2:
            return None
        return intervals.one_arm(np.log(self.processes), (1 - CONFIDENCE) / 2)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of `seconds`; None below two processes.

        Of the level that this cell has on a machine in its present state, over its moods (`intervals.py`). What it
        covers, and what it costs, stands in docs/clock.md.
        """
        level = self._level
        return (math.exp(level.low), math.exp(level.high)) if level else None

    @property
    def unmet(self) -> bool:
        """Whether the processes agree better than so few can be trusted to, and `interval` is wider than they say."""
        return self._level is not None and self._level.method == intervals.UNMET

    @property
    def rate(self) -> float | None:
        """Work in `unit` a second."""
        return self.work / self.seconds if self.seconds else None

    @property
    def flops_per_second(self) -> float | None:
        """Counted floating-point operations a second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def fraction_of_peak(self) -> float | None:
        """`flops_per_second` over the measured peak of the machine."""
        return self.flops_per_second / self.peak if self.flops_per_second and self.peak else None

    @property
    def compile_seconds(self) -> float | None:
        """What the first call took beyond a steady one: compiling, in graph mode, and first-time set-up."""
        if self.first_call is None or self.seconds is None:
            return None
        return max(0.0, self.first_call - self.seconds)

    @property
    def percentiles(self) -> tuple[Percentile, ...]:
        """p50, p90 and p99 of single calls, over the rounds of all processes, each with its bounds or why it has none.

        As of independent calls: where processes differ more than their rounds do, the bounds say too much.
        """
        return percentiles([seconds for rounds in self.rounds for seconds in rounds])

    @property
    def detectable(self) -> float | None:
        """Smallest slowdown that as many processes again would show: 95 % power, 1 % false alarms; None below two.

        As `compare` would find it: one-sided, two independent arms, the spread of this row's processes in both.
        """
        n = len(self.processes)
        if n < 2:
            return None
        return minimum_detectable_effect(*of_two_arms(float(np.std(np.log(self.processes), ddof=1)), n))


def rows(record: Record) -> list[Row]:
    """The rows of a bench `record`, in the order in which their cells first appear."""
    cells: dict[tuple[str, str, str, str], list[Measurement]] = {}
    for measurement in measurements(record):
        cells.setdefault(measurement.cell, []).append(measurement)
    peak = fastest(record.get("peaks", {}))
    return [_row(cell, found, peak) for cell, found in cells.items()]


def fastest(peaks: dict[str, dict[str, float]]) -> float | None:
    """The rate in FLOP/s of the fastest matrix product among the `peaks` of a record, None where none was measured."""
    return max((rate for name, rate in products(peaks).items() if not name.startswith("convolution")), default=None)


def products(peaks: dict[str, dict[str, float]]) -> dict[str, float]:
    """The best rate in FLOP/s of each source of `peaks` that multiplies: matrix products and convolutions."""
    return {name: float(peak["best"]) for name, peak in peaks.items() if not name.startswith("copy")}


def bandwidth(peaks: dict[str, dict[str, float]]) -> float | None:
    """The best rate in bytes/s of the sources of `peaks` that copy, None where none was measured."""
    return max((float(peak["best"]) for name, peak in peaks.items() if name.startswith("copy")), default=None)


def _compiling(found: Iterable[Measurement], state: str) -> list[float]:
    """Seconds of compiling in each process that found the cache of graphs in this `state`."""
    return [m.split["compile"] for m in found if m.params.get("compile_cache") == state and "compile" in m.split]


def _row(cell: tuple[str, str, str, str], found: Sequence[Measurement], peak: float | None) -> Row:
    valid = [measurement for measurement in found if measurement.invalid is None]
    first = found[0]
    return Row(
        *cell,
        work=first.work,
        unit=first.unit,
        processes=tuple(measurement.value for measurement in valid),
        rounds=tuple(measurement.seconds for measurement in valid),
        first_call=_median(measurement.first_call_seconds for measurement in valid),
        import_seconds=_median(measurement.import_seconds for measurement in valid),
        flops=next((measurement.flops for measurement in valid), None),
        peak=peak if first.params.get("dtype", "float32") == "float32" else None,  # which was measured in float32
        peak_rss_bytes=max((m.peak_rss_bytes for m in valid if m.peak_rss_bytes), default=None),
        cpu_over_wall=_median(measurement.cpu_over_wall for measurement in valid),
        invalid=tuple(dict.fromkeys(m.invalid for m in found if m.invalid is not None)),
        cold=_median(_compiling(valid, "cold")),
        warm=_median(_compiling(valid, "warm")),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def tally(findings: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many `findings` ended in each status, the frequent first."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding["status"]] = counts.get(finding["status"], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def verified(verify: Record | None, bench: Record) -> str | None:
    """Why the timings in `bench` count as UNVERIFIED; None when a passing record of the same code and machine stands.

    The same: the environment's entries for code, MindSpore and NumPy version and CPU are equal, and the operators that
    were timed are those that were judged, or the native ones beside them.
    """
    if verify is None:
        return "no verification record was given"
    bad = [f["check"] for f in verify["findings"] if f["status"] not in ("passed", "known_failure")]
    if bad:
        many = "1 check" if len(bad) == 1 else f"{len(bad)} checks"
        return f"{many} did not pass, the first is {bad[0]}"
    if not verify["findings"]:
        return "the verification record holds no finding"
    for key in ("code", "mindspore", "numpy", "cpu"):
        one, other = verify["environment"].get(key), bench["environment"].get(key)
        if one != other:
            return f"it was verified with {key} {one} and timed with {other}"
    judged, timed = _operators(verify["environment"]), _operators(bench["environment"])
    if timed not in (judged, judged | {NATIVE}):
        return f"it was verified with the operators {', '.join(judged)} and timed with {', '.join(sorted(timed))}"
    return None


def _operators(environment: Mapping[str, Any]) -> set[str]:
    """The values of `DDPM_BENCH_OPERATORS` that an environment tells of: each tuning's, or else the one that is set."""
    name = "DDPM_BENCH_OPERATORS"
    tunings = [str(value) for key, value in environment.items() if key.startswith("tuning.")]
    settings = [dict(pair.split("=", 1) for pair in each.split() if "=" in pair) for each in tunings]
    set_there = str(environment.get(f"env.{name}", NATIVE))
    return {each.get(name, set_there) for each in settings} or {set_there}


def exit_code(record: Record) -> int:
    """0 when all that ran gave a number, 1 when a gate refused one, 3 when there is no number at all."""
    found = rows(record)
    if any(row.invalid for row in found):
        return 1
    return 0 if any(row.seconds for row in found) else 3
