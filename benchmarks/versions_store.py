"""What a sweep over builds keeps, so that it goes on after any end: its rows, and the outputs of its first pairs.

    store/1f2e3d4c5b6a7980.jsonl            rows, as `history.py` keeps them: a file for each build's environment
    store/outputs/SESSION/DIGEST.npz        the outputs of one build's cell, under the digest of both their names
    store/KIND/SESSION/DIGEST.json          what a build was asked beside being timed: kernels, gate
    store/sweep.lock                        held by the sweep that is being measured

Outputs are written before the rows of their pair, under another name that is then changed, which POSIX does in one
step: whichever moment ends the process, a pair with rows has its outputs, and a file under its name is whole. A sweep
is found again by what it asks (`duel.Bout.plan`, with the launching environment and each build's packages in it), so
rows from another machine are never taken for this one's; that there are some is said.
"""

from __future__ import annotations

import contextlib
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks import environment, history, resume
from benchmarks.duel import Cell
from benchmarks.measurement import SCHEMA, BenchmarkError, Record, now, replacing, write_record
from benchmarks.resume import Earlier

CODE = (*environment.CODE_KEYS, "clock")
"""Keys of the environment in which a sweep of another day usually differs: no other machine, and no news."""


Answer = TypeVar("Answer")


def here(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What all builds of a sweep share: the environment but for the packages, which are each build's own."""
    return {key: value for key, value in environment.collect(variables).items() if key not in environment.PACKAGES}


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep other sweeps out of the store in `directory`, which is made if it is not there.

    Raises `BenchmarkError` when another one is in it, or it cannot be written. A killed process holds nothing.
    """
    import filelock  # here, because who only reads needs no lock

    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / "sweep.lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise BenchmarkError(
            f"another sweep is measuring into {directory}: wait for it, or give this one another --out"
        ) from None
    except OSError as error:
        raise BenchmarkError(f"cannot write into {directory}: {error.strerror}; choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def begin(directory: Path | None, plan: Record, labels: Sequence[str], *, again: bool = False) -> Earlier:
    """What the store holds of the sweep with this `plan`; a session of its own that holds nothing if that is nothing.

    With `again` it always is. Raises `BenchmarkError` when the store cannot be read or written.
    """
    found = resume.find(directory, plan, labels) if directory and not again else None
    return found or Earlier(uuid.uuid4().hex, now(), dict.fromkeys(labels, ()), {}, ())


def elsewhere(directory: Path | None, plan: Record) -> list[str]:
    """A sentence for each sweep of the same builds and cases in the store that was made in another environment."""
    if directory is None or not directory.is_dir():
        return []
    ours, sessions = plan["sweep"]["environment"], {}
    for record in history.read(directory).records:
        theirs = record.get("plan") or {}
        if _asked(theirs) == _asked(plan):
            sessions[record["session"]] = (record["created"], theirs["sweep"]["environment"])
    found = []
    for created, theirs in sorted(sessions.values(), key=lambda each: str(each[0])):
        apart = environment.differences(theirs, ours, ignore=CODE)
        if apart:
            found.append(f"the sweep of {created} in the same store is not compared with this one: {'; '.join(apart)}")
    return found


def _asked(plan: Record) -> Record | None:
    """What a sweep asks, wherever it is measured; None for the plan of anything else."""
    if "sweep" not in plan:
        return None
    kept = {key: value for key, value in plan["sweep"].items() if key not in ("environment", "builds")}
    return {**plan, "sweep": kept}


@dataclass
class Outputs:
    """The outputs of a session's first pairs, by build and cell: what drift is told from."""

    directory: Path | None
    """the store; None to keep them in memory alone"""
    session: str
    known: dict[tuple[str, Cell], Sequence[NDArray[Any]]] = field(default_factory=dict)

    def keep(self, label: str, cell: Cell, arrays: Sequence[NDArray[Any]]) -> None:
        """Keep the outputs of one build's cell, whole or not at all. Raises `BenchmarkError` if that is impossible."""
        self.known[label, cell] = arrays
        if self.directory:
            _write(_outputs_place(self.directory, self.session, label, cell), arrays)

    def of(self, label: str, cell: Cell) -> Sequence[NDArray[Any]] | None:
        """The outputs of one build's cell; None if there are none, or their file was damaged.

        Raises `BenchmarkError` for a file of another schema.
        """
        if (label, cell) in self.known or self.directory is None:
            return self.known.get((label, cell))
        return _read(_outputs_place(self.directory, self.session, label, cell))


def _write(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    named: dict[str, Any] = {f"output{i}": array for i, array in enumerate(arrays)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror}; choose a place that can be written to") from None
    with replacing(path) as file:
        np.savez(file, schema=np.int64(SCHEMA), **named)


def _read(path: Path) -> list[NDArray[Any]] | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            schema, outputs = int(kept["schema"]), [kept[f"output{i}"] for i in range(len(kept.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # absent, or no longer what was written
        return None
    _refuse_another_schema(path, schema)
    return outputs


def _refuse_another_schema(path: Path, schema: object) -> None:
    if schema != SCHEMA:
        raise BenchmarkError(
            f"{path} has schema {schema!r} and this version reads schema {SCHEMA}: "
            "use the version of ddpm-bench that wrote it"
        )


def _outputs_place(directory: Path, session: str, label: str, cell: Cell) -> Path:
    return directory / "outputs" / session / f"{_digest(label, *cell)}.npz"


def _digest(*names: str) -> str:
    return sha256(json.dumps(names).encode()).hexdigest()[:16]


def place(directory: Path | None, kind: str, session: str, *names: str) -> Path | None:
    """Where the answer of this `kind` to what has these `names` is kept; None without a store."""
    return directory and directory / kind / session / f"{_digest(*names)}.json"


def keep(place: Path | None, answer: Record) -> None:
    """Keep an answer, whole or not at all. Raises `BenchmarkError` if that is impossible.

    One that has a "reason" is none and is asked for again: it may be of the moment, too little memory, a busy machine.
    """
    if place is None or answer["reason"] is not None:
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"cannot write {place}: {error.strerror}; choose another --out") from None
    write_record(place, {"schema": SCHEMA, **answer})


def kept(place: Path | None, read: Callable[[Any], Answer]) -> Answer | None:
    """What was kept, made of its JSON by `read`; None where nothing was, or no longer what was written.

    Raises `BenchmarkError` for another schema.
    """
    if place is None or not place.is_file():
        return None
    try:
        found: Any = json.loads(place.read_text(encoding="utf-8"))
        schema, answer = found["schema"], read(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    _refuse_another_schema(place, schema)
    return answer
