"""What one worker process measured of one case, and the record that many of them make.

A timing is a claim about a process: `Measurement.seconds` are the rounds of *one* fresh process, raw, and inference
is over processes (`compare.py`). Inside the process pytest-benchmark times; `from_pytest_benchmark` is the only
reader of its JSON and refuses every layout it does not know.

The record of a run, as JSON (numbers are SI: seconds, bytes, FLOP; never NaN or infinity):

    {"schema": 1, "kind": "bench", "created": ISO-8601 UTC, "session": identity of the run,
     "environment": {flat: everything a number depends on, see environment.py},
     "measurements": [the fields of `Measurement`, one per case, mode, device, tuning and process],
     "unavailable": [{"device", "mode", "reason"} and, where only one case is missing, "case"],
     "peaks": {source: {"start": FLOP/s, "end": FLOP/s, "best": FLOP/s}; bytes/s where it copies},
     "notes": [sentences: what was dropped and why, and where the run was interrupted],
     "layers": [the parts of forward passes, see layer_times.py; only where single operators were measured],
     "plan": {what was to be measured, by which `bench --resume` finds it in a store},
     "devices": [those measured on], "ended": ISO-8601 UTC, absent from what an interrupted run left,
     "interruptions": [sentences: when it was gone on with, and after how much]}

History of the layout. Schema 1: the first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import math
import os
import statistics
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

SCHEMA = 1
"""Number of the layout above; a file with any other is refused."""

PYTEST_BENCHMARK_MAJOR = "5"
"""The pytest-benchmark whose JSON is read: `seconds` are `stats.data`, one per round, `iterations` always 1."""

GZIP = b"\x1f\x8b"
"""How a compressed file begins (RFC 1952): its name need not say so."""

Record = dict[str, Any]


class BenchmarkError(Exception):
    """A mistake of the user of the clock: one sentence saying what was given, what was expected and what to do."""


@dataclass(frozen=True)
class Measurement:
    """One case in one fresh worker process."""

    case: str
    """the case's id, for instance `unet_forward[cifar10,b4]`"""
    params: dict[str, Any]
    """everything chosen for this cell: preset, batch, mode, device, tuning, rounds, …"""
    process: int
    """0-based index of the worker process among those of this cell"""
    seconds: tuple[float, ...]
    """raw, one per round of one synchronised call; empty when `invalid`"""
    first_call_seconds: float | None
    """the first call, which compiles in graph mode; never part of `seconds`"""
    flops: int | None
    """floating-point operations of one call, two per multiply–add; None where nothing counts them"""
    peak_rss_bytes: int | None
    """largest resident memory of the worker so far"""
    cpu_over_wall: float | None
    """CPU seconds of all threads per second of wall time, over the timed rounds"""
    work: float
    """what one call does, in `unit`"""
    unit: str
    """"images", "steps", "products", or of a single operator "calls\""""
    import_seconds: float | None
    """importing MindSpore and ddpm_bench in this worker"""
    proof: dict[str, Any]
    """why the number may be believed: canary, gate, compile count, device and dtype of the parameters"""
    conditions: dict[str, Any] = field(default_factory=dict)
    """what else the machine did during the timed rounds: involuntary switches, stolen time; the load before them"""
    invalid: str | None = None
    """why there is no number, or None"""
    interleaved: bool = False
    """whether its rounds took turns with those of the same `process` in the other arms of the session: round i of one
    ran beside round i of the other"""
    started: str | None = None
    """when the worker began, ISO-8601 UTC: the order of processes in time"""
    split: dict[str, float] = field(default_factory=dict)
    """seconds of the worker's life by what it did (`lifetime.py`); they sum to its wall time"""

    @property
    def value(self) -> float:
        """The process's one value for inference: the median of its rounds, in seconds per call."""
        return statistics.median(self.seconds)

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """What makes measurements the same thing in different processes: case, device, mode, tuning."""
        return (self.case, *(str(self.params.get(key)) for key in ("device", "mode", "tuning")))  # type: ignore[return-value]  # four entries by construction

    def as_record(self) -> Record:
        """The measurement as JSON can hold it."""
        return {**dataclasses.asdict(self), "seconds": list(self.seconds)}


FIELDS = tuple(f.name for f in dataclasses.fields(Measurement))
REQUIRED = tuple(
    f.name
    for f in dataclasses.fields(Measurement)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
)


def from_record(row: object, *, source: str = "record") -> Measurement:
    """The `Measurement` of one row of a record. Raises `BenchmarkError` for a row that is not one."""
    if not isinstance(row, dict):
        raise BenchmarkError(f"{source}: a measurement must be an object, not {type(row).__name__}")
    missing = [name for name in REQUIRED if name not in row]
    if missing:
        raise BenchmarkError(f"{source}: a measurement lacks {', '.join(missing)}; was the file edited?")
    seconds = row["seconds"]
    if not isinstance(seconds, list) or not all(is_duration(value) for value in seconds):
        raise BenchmarkError(f"{source}: {row['case']}: `seconds` must be a list of positive numbers")
    if not seconds and row.get("invalid") is None:
        raise BenchmarkError(f"{source}: {row['case']} has no seconds and does not say why it is invalid")
    known = {name: row[name] for name in FIELDS if name in row}
    return Measurement(**{**known, "seconds": tuple(seconds)})


def is_duration(value: object) -> bool:
    """True for a finite number of seconds greater than 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def from_pytest_benchmark(document: object, *, process: int = 0) -> list[Measurement]:
    """The measurements in what `pytest --benchmark-json` wrote from this package's timed modules.

    `document` is the parsed JSON. Every benchmark must carry the entry "clock" in its `extra_info`, which `conftest.py`
    fills; one whose gate failed keeps its reason and loses its numbers. Raises `BenchmarkError` for any other layout.
    """
    if not isinstance(document, dict) or not {"version", "benchmarks", "machine_info"} <= set(document):
        raise BenchmarkError("this is not pytest-benchmark's JSON: version, benchmarks or machine_info is missing")
    version = str(document["version"])
    if version.split(".")[0] != PYTEST_BENCHMARK_MAJOR:
        raise BenchmarkError(
            f"pytest-benchmark {version} wrote this JSON and the clock reads that of {PYTEST_BENCHMARK_MAJOR}.x: "
            f'install "pytest-benchmark>={PYTEST_BENCHMARK_MAJOR},<{int(PYTEST_BENCHMARK_MAJOR) + 1}"'
        )
    return [_from_benchmark(entry, process) for entry in document["benchmarks"]]


def _from_benchmark(entry: Mapping[str, Any], process: int) -> Measurement:
    name = entry.get("fullname", "a benchmark")
    clock = entry.get("extra_info", {}).get("clock")
    if not isinstance(clock, dict):
        raise BenchmarkError(f"{name} carries no entry of this clock: only benchmarks/test_*.py can be recorded")
    seconds = entry.get("stats", {}).get("data")
    if not isinstance(seconds, list) or not seconds or not all(is_duration(value) for value in seconds):
        raise BenchmarkError(f"{name} has no raw rounds (stats.data): pass --benchmark-json, not --benchmark-save")
    if entry["stats"].get("iterations") != 1:
        raise BenchmarkError(f"{name} timed several calls as one round; the clock wants benchmark.pedantic with one")
    rounds = clock.get("params", {}).get("rounds")
    if rounds != len(seconds):
        raise BenchmarkError(f"{name} was asked for {rounds} rounds and has {len(seconds)}")
    measurement = from_record({**clock, "process": process, "seconds": seconds}, source=str(name))
    return _without_numbers(measurement) if measurement.invalid else measurement


def _without_numbers(row: Measurement) -> Measurement:
    """An invalid `row` with its reason, what it was about, and what a gate refused; with nothing that was measured."""
    bare = invalid_measurement(row.case, row.params, row.process, str(row.invalid), work=row.work, unit=row.unit)
    return dataclasses.replace(bare, proof={"gate": row.proof["gate"]} if "gate" in row.proof else {})


def invalid_measurement(
    case: str, params: Mapping[str, Any], process: int, reason: str, *, work: float, unit: str
) -> Measurement:
    """The row of a cell that gave no number, with the `reason`."""
    return Measurement(
        case=case, params=dict(params), process=process, seconds=(), first_call_seconds=None, flops=None,
        peak_rss_bytes=None, cpu_over_wall=None, work=work, unit=unit, import_seconds=None, proof={}, invalid=reason,
    )  # fmt: skip


def now() -> str:
    """The present moment as ISO-8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def check_record(document: object, *, source: str, kind: str = "bench") -> Record:
    """`document` if it is a record of this `kind` and schema. Raises `BenchmarkError` naming `source` if not."""
    if not isinstance(document, dict) or "schema" not in document or "kind" not in document:
        raise BenchmarkError(f"{source} is not a record of ddpm-bench: it has no `schema` and `kind`")
    if document["schema"] != SCHEMA:
        raise BenchmarkError(
            f"{source} has schema {document['schema']!r} and this version reads schema {SCHEMA}: "
            "use the version of ddpm-bench that wrote it"
        )
    if document["kind"] != kind:
        raise BenchmarkError(f"{source} is a record of kind {document['kind']!r}, not {kind!r}")
    if kind == "bench":
        _check_bench(document, source)
    return document


def _check_bench(document: Record, source: str) -> None:
    if not isinstance(document.get("environment"), dict):
        raise BenchmarkError(f"{source} has no environment, so its numbers mean nothing")
    if not isinstance(document.get("measurements"), list):
        raise BenchmarkError(f"{source} has no list of measurements")
    for row in document["measurements"]:
        from_record(row, source=source)


def measurements(record: Record, *, source: str = "record") -> list[Measurement]:
    """The measurements of a bench `record`, in its order."""
    return [from_record(row, source=source) for row in record["measurements"]]


def parse_json(text: str, *, source: str) -> object:
    """The value in `text`, without NaN or infinity. Raises `BenchmarkError` with the place of the first fault."""
    try:
        return json.loads(text, parse_constant=lambda name: _refuse_constant(name, source))
    except json.JSONDecodeError as error:
        raise BenchmarkError(
            f"{source} is not JSON ({error.msg} in line {error.lineno}): was writing it interrupted?"
        ) from None


def _refuse_constant(name: str, source: str) -> object:
    raise BenchmarkError(f"{source} contains {name}, which is not a number that can be compared")


def read_json(path: Path) -> object:
    """The JSON value in the file `path`, which may be compressed by gzip.

    Raises `BenchmarkError` when it cannot be read, or is not JSON.
    """
    try:
        content = path.read_bytes()
        text = (_unpacked(content, path) if content.startswith(GZIP) else content).decode("utf-8")
    except OSError as error:
        raise BenchmarkError(
            f"cannot read {path}: {error.strerror}; give a record that `run`, `verify --json` or `bench --json` wrote"
        ) from None
    except UnicodeDecodeError:
        raise BenchmarkError(f"{path} is not text, so it is no record of ddpm-bench") from None
    return parse_json(text, source=str(path))


def _unpacked(content: bytes, path: Path) -> bytes:
    """What gzip compressed. Raises `BenchmarkError` when it is not whole."""
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BenchmarkError(f"{path} is compressed and not whole: was copying it interrupted?") from None


def read_record(path: Path, *, kind: str = "bench") -> Record:
    """The record in the file `path`. Raises `BenchmarkError` when it cannot be read or is not such a record."""
    return check_record(read_json(path), source=str(path), kind=kind)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write what shall stand at `path`, whole or not at all: an interruption leaves what was there before.

    Raises `BenchmarkError` when the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a file system that refuses to write refuses this, too
            temporary.unlink(missing_ok=True)
        raise BenchmarkError(f"cannot write {path}: {error.strerror}; choose a place that can be written to") from None


def write_record(path: Path, record: Record) -> None:
    """Write `record` to `path` as JSON, whole or not at all. Raises `BenchmarkError` as `replacing` does."""
    text = json.dumps(record, indent=1, allow_nan=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())
