"""The machine's peaks as a run finds them: at its start and its end, in FLOP/s, or bytes/s where it copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.cases import Case
from benchmarks.measurement import Measurement
from benchmarks.worker import Job


@dataclass
class Peaks:
    """What has been found so far."""

    cases: Sequence[Case]
    tunings: Iterable[str]
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    """name to "start" and "end" """

    def job(self, device: str) -> Job:
        """What finds them, under the run's last setting: a convolution stuck in a reference loop is no peak.

        NumPy computes on the CPU only.
        """
        cases = tuple(case for case in self.cases if device == "CPU" or case.params.get("library") != "numpy")
        return Job(cases, device, "pynative", list(self.tunings)[-1], 0)

    def add(self, rows: Iterable[Measurement], device: str, moment: str) -> None:
        """Note what a worker found on the device at the `moment` "start" or "end"."""
        for row in rows:
            amount = row.work if row.unit == "bytes" else row.flops
            if row.invalid is None and amount:
                fastest = amount / min(row.seconds)  # not the median: a neighbour only ever takes from a peak
                self.rates.setdefault(_name(row.case, device), {})[moment] = fastest

    def known(self, device: str, moment: str) -> bool:
        """Whether any was found there then."""
        return any(moment in self.rates.get(_name(case.id, device), {}) for case in self.job(device).cases)

    def forget_end(self) -> None:
        """What was found at an end that was none: more is measured after it."""
        self.rates = {name: {"start": rate["start"]} for name, rate in self.rates.items() if "start" in rate}

    def as_record(self) -> dict[str, dict[str, float]]:
        """As the entry "peaks" of a record."""
        return {name: {**rate, "best": max(rate.values())} for name, rate in self.rates.items()}

    def take_up(self, recorded: Mapping[str, Mapping[str, float]]) -> None:
        """Begin with the entry of an earlier record."""
        self.rates = {name: {k: value for k, value in rate.items() if k != "best"} for name, rate in recorded.items()}


def _name(case: str, device: str) -> str:
    return case if device == "CPU" else f"{case} on {device}"
