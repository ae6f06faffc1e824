"""Append-only store of measurements: JSON Lines, one file per environment, safe for two writers and for a crash.

A file holds what was measured in one environment but for the code that was timed, so that its lines are comparable:

    {"schema": 1, "kind": "history", "environment": {…}}                                    the first line
    {"session", "created", "code": {…}, "plan", "devices", "ended", "interruptions", "peaks", "unavailable", "notes"}
                                                                                            one line a run, then
    {"session", "cell", "measurement": {the fields of Measurement}}                         one line a process of a cell

and the lines of an arm of a comparison say which: "arm". `cell` is the SHA-256 of code, configuration, environment and
process: with session and arm it says whether a line is already there, so appending a record again adds nothing and an
interrupted run can go on where it was. What is known of the run itself grows while it lasts (its peaks, what was
dropped, that it ended): then its line is added again, whole, and the last one counts. A line with "withdrawn" in place
of "measurement" takes an earlier one back, half a pair, so that it can be measured again.

Lines are appended under a lock and synced to disk; a write that fails is taken back. What a power cut leaves of a
line is closed by the next writer and left out, with a note, by every reader. Nothing is ever overwritten.

History of the layout. Schema 1: the first.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from benchmarks.environment import CODE_KEYS
from benchmarks.layer_times import layers
from benchmarks.measurement import (
    SCHEMA,
    BenchmarkError,
    Measurement,
    Record,
    check_record,
    measurements,
    parse_json,
)

LOCK_SECONDS = 30
"""How long a writer waits for another one: appending takes milliseconds."""

RUN_KEYS = ("plan", "devices", "ended", "interruptions", "peaks", "unavailable", "notes")
"""What a record says of its run beside its name, its time and its code."""


@dataclass
class History:
    """What a folder of history files holds."""

    records: list[Record] = field(default_factory=list)
    """bench records in the order they were appended, one a session and environment"""
    notes: list[str] = field(default_factory=list)
    """one sentence for each damaged line that was left out"""


def append(directory: Path, record: Record) -> Path:
    """Add the measurements of a bench `record` that are not there yet; returns the file of its environment.

    Raises `BenchmarkError` when the record is none, the folder cannot be written, another writer holds the lock for
    half a minute, or the file there is not a history of this schema; what was stored before stays as it is.
    """
    check_record(record, source="the record")
    return _add(directory, record, _lines(record))


def _add(directory: Path, record: Record, lines: Iterable[Record]) -> Path:
    shared = {key: value for key, value in record["environment"].items() if key not in CODE_KEYS}
    path = directory / f"{_hash(shared)[:16]}.jsonl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(path), path.open("a+b", buffering=0) as file:
            _append_lines(file, path, shared, lines)
    except OSError as error:
        raise BenchmarkError(f"cannot add to the history {path}: {error.strerror}") from None
    return path


def read(directory: Path) -> History:
    """Everything stored in `directory`, as bench records. Raises `BenchmarkError` for a folder or file that is none."""
    if not directory.is_dir():
        raise BenchmarkError(f"{directory} is not a folder: give the one that `bench --history` wrote")
    history = History()
    for path in sorted(directory.glob("*.jsonl")):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BenchmarkError(f"cannot read {path}: {error.strerror}") from None
        history.records.extend(_records(content, path, history.notes))
    return history


def withdraw(directory: Path, record: Record, rows: Iterable[Measurement]) -> None:
    """Take back these `rows` of a stored `record`: readers leave them out, and their cells may be added again.

    Raises `BenchmarkError` as `append` does.
    """
    lines = [{**line, "withdrawn": True} for line in _lines({**record, "measurements": [r.as_record() for r in rows]})]
    for line in lines:
        line.pop("measurement", None)
    if lines[1:]:
        _add(directory, record, lines[1:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import filelock  # here, because who only reads needs no lock

    try:
        with filelock.FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout:
        raise BenchmarkError(f"another process has been writing to {path} for {LOCK_SECONDS} s") from None


def _append_lines(file: FileIO, path: Path, environment: Mapping[str, object], lines: Iterable[Record]) -> None:
    file.seek(0)
    present = file.readall()
    stored = [line for line in _decoded(present, path) if line is not None]
    header = [] if stored else [{"schema": SCHEMA, "kind": "history", "environment": environment}]
    standing = {_identity(line): line for line in _standing(stored[1:])}
    fresh = [line for line in lines if _is_news(line, standing.get(_identity(line)))]
    torn = bool(present) and not present.endswith(b"\n")  # a crash cut it short: close it, and readers leave it out
    _write_or_take_back(file, b"\n" * torn + b"".join(map(_encode, [*header, *fresh])))


def _is_news(line: Record, standing: Record | None) -> bool:
    """Whether a `line` says more than the one that is `standing` for the same thing."""
    if "withdrawn" in line:
        return standing is not None
    return standing is None or ("cell" not in line and _encode(line) != _encode(standing))


def _write_or_take_back(file: FileIO, block: bytes) -> None:
    """Append `block` and wait for the disk; when it is full, cut the file back to what it was.

    Unbuffered: a buffer would keep what did not fit, and closing the file would write it into the room that cutting
    back has made.
    """
    before = os.fstat(file.fileno()).st_size
    try:
        while block:
            block = block[file.write(block) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def _encode(line: Record) -> bytes:
    return json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _lines(record: Record) -> list[Record]:
    """The lines of a `record`: one for the run, one for each measurement."""
    code = {key: record["environment"].get(key) for key in CODE_KEYS}
    session: Record = {"session": record.get("session") or record.get("created")}
    session |= {"arm": record["arm"]} if "arm" in record else {}
    run = {**session, "created": record.get("created"), "code": code}
    run |= {key: record[key] for key in RUN_KEYS if key in record}
    cells = [
        {**session, "cell": cell_identity(record["environment"], row), "measurement": row}
        for row in record["measurements"]
    ]
    return [run, *cells]


def cell_identity(environment: Mapping[str, object], row: Mapping[str, Any]) -> str:
    """SHA-256 of what one process of one cell is: code, environment and machine, case and parameters, process."""
    return _hash([dict(environment), row["case"], row["params"], row["process"]])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _identity(line: Mapping[str, Any]) -> tuple[object, object, object]:
    """What a line is about: a session's run line has no cell."""
    return (line.get("session"), line.get("arm"), line.get("cell"))


def _decoded(content: bytes, path: Path) -> list[Record | None]:
    """The lines in `content`, None for a damaged one. Raises `BenchmarkError` unless the first whole one opens a store.

    Where no line was ever completed, the first write was interrupted and nothing is stored yet.
    """
    lines = [_decode(raw) for raw in content.splitlines()]
    first = next((line for line in lines if line is not None), None)
    if first is not None or b"\n" in content:
        _check_header(first or {}, path)
    return lines


def _check_header(line: Record, path: Path) -> None:
    if line.get("kind") != "history" or not isinstance(line.get("environment"), dict):
        raise BenchmarkError(f"{path} is not a history of ddpm-bench: its first line does not say so")
    if line.get("schema") != SCHEMA:
        raise BenchmarkError(
            f"{path} has schema {line.get('schema')!r} and this version reads schema {SCHEMA}: "
            "use the version of ddpm-bench that wrote it"
        )


def _decode(raw: bytes) -> Record | None:
    """The object in a line, or None when the line is damaged."""
    try:
        value = parse_json(raw.decode(), source="a line")
    except (BenchmarkError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _records(content: bytes, path: Path, notes: list[str]) -> list[Record]:
    """The records in the `content` of one file; a sentence goes to `notes` for each line that is damaged."""
    decoded = _decoded(content, path)
    notes += [
        f"line {number} of {path} is damaged, as by an interrupted write, and is left out"
        for number, line in enumerate(decoded, start=1)
        if line is None
    ]
    whole = [line for line in decoded if line is not None]
    records: dict[object, Record] = {}
    for line in _standing(whole[1:]):
        environment = whole[0]["environment"]
        record = _session(records, environment, line)
        if "measurement" in line:
            record["measurements"].append(line["measurement"])
        else:
            record.update(_run(line, environment))
    return [_explained(check_record(record, source=str(path))) for record in records.values()]


def _explained(record: Record) -> Record:
    """The `record` with its layers, which follow from its rows and are not stored."""
    found = layers(measurements(record))
    return {**record, "layers": found} if found else record


def _standing(lines: Iterable[Record]) -> list[Record]:
    """The `lines` that no later one takes back; of a process the first one, of a run the last."""
    standing: dict[object, Record] = {}
    for line in lines:  # in their order: what was taken back may have been added again
        if "withdrawn" in line:
            standing.pop(_identity(line), None)
        elif "cell" in line:
            standing.setdefault(_identity(line), line)
        else:
            standing[_identity(line)] = line
    return list(standing.values())


def _session(records: dict[object, Record], environment: Record, line: Record) -> Record:
    empty = {"schema": SCHEMA, "kind": "bench", "session": line.get("session"), "environment": environment}
    empty |= {"arm": line["arm"]} if "arm" in line else {}
    return records.setdefault((line.get("session"), line.get("arm")), {**empty, "measurements": []})


def _run(line: Record, environment: Record) -> Record:
    rest = {key: value for key, value in line.items() if key != "code"}
    return {**rest, "environment": {**environment, **line.get("code", {})}}
