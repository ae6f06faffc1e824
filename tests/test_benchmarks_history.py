"""The store: nothing lost, nothing twice, whatever happens to the writer."""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import full_record
import pytest

from benchmarks import history
from benchmarks.history import append, read
from benchmarks.layer_times import layers
from benchmarks.measurement import BenchmarkError, measurements


def row(case: str = "x", process: int = 0, seconds: float = 1.0) -> dict[str, Any]:
    return {
        "case": case, "params": {"device": "CPU", "mode": "graph", "tuning": "tuned"}, "process": process,
        "seconds": [seconds], "first_call_seconds": 1.0, "flops": 8, "peak_rss_bytes": 1, "cpu_over_wall": 1.0,
        "work": 1, "unit": "images", "import_seconds": 1.0, "proof": {"canary": {"holds": True}}, "conditions": {},
        "invalid": None,
    }  # fmt: skip


def record(session: str = "a", rows: int = 2, **environment: str) -> dict[str, Any]:
    return {
        "schema": 1, "kind": "bench", "session": session, "created": "2026-01-01T00:00:00+00:00",
        "environment": {"code": "one", "ddpm_bench": "0.1", "cpu": "A", **environment},
        "measurements": [row(process=i) for i in range(rows)],
        "unavailable": [{"device": "GPU", "mode": "graph", "reason": "none here"}],
        "peaks": {"matmul": {"start": 1.0, "end": 2.0, "best": 2.0}}, "notes": ["a note"],
    }  # fmt: skip


def test_record_survives_the_store(tmp_path: Path) -> None:
    append(tmp_path, record())
    found = read(tmp_path)
    assert found.records == [record()]
    assert found.notes == []


def test_runs_are_added_and_kept_in_order(tmp_path: Path) -> None:
    for session, code in (("a", "one"), ("b", "two"), ("c", "three")):
        append(tmp_path, record(session, code=code))
    found = read(tmp_path).records
    assert [(r["session"], r["environment"]["code"]) for r in found] == [("a", "one"), ("b", "two"), ("c", "three")]


def test_other_code_shares_a_file_and_another_machine_does_not(tmp_path: Path) -> None:
    paths = [
        append(tmp_path, record(code="two")),
        append(tmp_path, record("b")),
        append(tmp_path, record("c", cpu="B")),
    ]
    assert paths[0] == paths[1] != paths[2]
    assert len(read(tmp_path).records) == 3


def test_appending_again_adds_nothing(tmp_path: Path) -> None:
    path = append(tmp_path, record())
    before = path.read_bytes()
    append(tmp_path, record())
    assert path.read_bytes() == before


def test_interrupted_run_is_completed_and_not_repeated(tmp_path: Path) -> None:
    append(tmp_path, record(rows=2))
    append(tmp_path, record(rows=5))
    (found,) = read(tmp_path).records
    assert [r["process"] for r in found["measurements"]] == [0, 1, 2, 3, 4]


def test_what_is_known_of_a_run_grows_and_the_last_word_counts(tmp_path: Path) -> None:
    """A run's line is added again only when it says something else; what it no longer says is gone."""
    growing = {**record(rows=1), "notes": ["not ended"], "peaks": {}}
    path = append(tmp_path, growing)
    append(tmp_path, record("b", rows=1))
    append(tmp_path, {**growing, "measurements": [row(process=1)]})
    assert path.read_bytes().count(b"not ended") == 1
    append(tmp_path, {**record(rows=0), "ended": "2026-01-01T00:01:00+00:00"})
    found = read(tmp_path).records
    assert found == [{**record(), "ended": "2026-01-01T00:01:00+00:00"}, record("b", rows=1)]
    append(tmp_path, growing)
    assert "ended" not in read(tmp_path).records[0]


def test_store_of_before_runs_grew_still_reads(tmp_path: Path) -> None:
    """As the first writer of schema 1 left it: one line a run, without plan, devices and end."""
    lines = [
        {"schema": 1, "kind": "history", "environment": {"cpu": "A"}},
        {"session": "a", "created": "2026-01-01T00:00:00+00:00", "code": {"code": "one", "ddpm_bench": "0.1"},
         "peaks": {}, "unavailable": [], "notes": ["a note"]},
        {"session": "a", "cell": "c0", "measurement": row()},
    ]  # fmt: skip
    (tmp_path / "0123456789abcdef.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = read(tmp_path).records
    assert found == {**record(rows=1), "peaks": {}, "unavailable": []}


def test_layers_follow_from_the_rows_and_are_not_stored(tmp_path: Path) -> None:
    whole = {**record(), "measurements": full_record.operators(1)}
    found = layers(measurements(whole))
    assert found
    path = append(tmp_path, {**whole, "layers": found})
    assert b'"layers":' not in path.read_bytes()
    assert read(tmp_path).records == [{**whole, "layers": found}]


def test_what_was_stored_is_never_rewritten(tmp_path: Path) -> None:
    path = append(tmp_path, record())
    before = path.read_bytes()
    append(tmp_path, record("b"))
    assert path.read_bytes().startswith(before)


def test_cut_at_any_byte_loses_no_whole_line_and_heals(tmp_path: Path) -> None:
    """What a power cut can leave: every prefix of the file. The next writer closes it and completes the run."""
    path = append(tmp_path, record("a", rows=1))
    append(tmp_path, record("b", rows=1))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        kept = sum(len(r["measurements"]) for r in read(tmp_path).records)
        torn = length > 0 and content[length - 1 : length] != b"\n"
        complete_tail = torn and content[length : length + 1] == b"\n"
        assert kept == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 2}[whole + complete_tail]
        append(tmp_path, record("a", rows=1))
        append(tmp_path, record("b", rows=1))
        found = read(tmp_path)
        assert sorted(r["session"] for r in found.records) == ["a", "b"]
        assert [len(r["measurements"]) for r in found.records] == [1, 1]
        assert len(found.notes) == (torn and not complete_tail)


def test_damaged_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = append(tmp_path, record(rows=3))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3][:50] + b"\n", *lines[4:]]))
    found = read(tmp_path)
    assert [r["process"] for r in found.records[0]["measurements"]] == [0, 2]
    assert found.notes == [f"line 4 of {path} is damaged, as by an interrupted write, and is left out"]


def test_unknown_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = append(tmp_path, record())
    newer = path.read_bytes().replace(b'{"schema":1', b'{"schema":2', 1)
    path.write_bytes(newer)
    for act in (lambda: read(tmp_path), lambda: append(tmp_path, record("b"))):
        with pytest.raises(BenchmarkError, match="schema 2 and this version reads schema 1"):
            act()
    assert path.read_bytes() == newer


@pytest.mark.parametrize(
    "content",
    [b'{"some": "json"}\n', b"[1, 2]\n", b"plain text\nof two lines\n", b'{\n "schema": 1,\n "kind": "bench"\n}\n'],
)
def test_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = append(tmp_path, record())
    path.write_bytes(content)
    for act in (lambda: read(tmp_path), lambda: append(tmp_path, record())):
        with pytest.raises(BenchmarkError, match="is not a history of ddpm-bench"):
            act()
    assert path.read_bytes() == content


def test_record_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="kind 'verify'"):
        append(tmp_path / "new", {"schema": 1, "kind": "verify"})
    assert not (tmp_path / "new").exists()


def test_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchmarkError, match="is not a folder"):
        read(tmp_path / "file")
    with pytest.raises(BenchmarkError, match="cannot add to the history"):
        append(tmp_path / "file", record())


def append_with_little_disk(folder: str, room: int, rows: int, answers: Any) -> None:
    """Append in a process that may write files of at most `room` bytes."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        append(Path(folder), record("b", rows=rows))
    except BenchmarkError as error:
        answers.put(str(error))


@pytest.mark.parametrize(("rows", "room"), [(1, 10), (4, 1000), (50, 1000)])
def test_write_that_does_not_fit_is_one_sentence_and_is_taken_back(tmp_path: Path, rows: int, room: int) -> None:
    """Blocks shorter and longer than a buffer: what is left in one must not be written when the file is closed."""
    path = append(tmp_path, record())
    before = path.read_bytes()
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    limit = len(before) + room
    process = context.Process(target=append_with_little_disk, args=(str(tmp_path), limit, rows, answers))
    process.start()
    process.join()
    assert answers.get() == f"cannot add to the history {path}: File too large"
    assert path.read_bytes() == before


FULL_DISK = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_benchmarks_history import BenchmarkError, append, read, record
folder = Path(sys.argv[1])
path = append(folder, record())
before = path.read_bytes()
for i in range(1000):
    try:
        append(folder, record(f"s{i}", rows=3))
    except BenchmarkError as error:
        assert path.read_bytes() == before, "what was stored has changed"
        assert len(read(folder).records) == i + 1
        filler.unlink()
        append(folder, record(f"s{i}", rows=3))
        assert len(read(folder).records) == i + 2
        print(error)
        break
    before = path.read_bytes()
    if i == 0:
        filler = folder / "filler"
        filler.write_bytes(b"x" * 150_000)
"""


def test_disk_that_is_really_full_is_one_sentence_and_room_heals_it(tmp_path: Path) -> None:
    """A file system of 256 KiB in a mount namespace of its own, filled to the last page."""
    script = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
    sandbox = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path)]
    try:
        possible = subprocess.run([*sandbox, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        possible = False
    if not possible:
        pytest.skip("this system lets no user mount a file system of its own")
    roots = [str(Path(__file__).parent), str(Path(history.__file__).parent.parent)]
    command = [*sandbox, sys.executable, "-c", FULL_DISK, str(tmp_path), *roots]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot add to the history {tmp_path}")
    assert done.stdout.endswith("No space left on device\n")


def append_many(folder: str, name: str) -> None:
    for i in range(20):
        append(Path(folder), record(f"{name}{i}", rows=3))


def test_two_writers_lose_nothing_and_mix_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(str(tmp_path), name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = read(tmp_path)
    assert {r["session"] for r in found.records} == {f"{name}{i}" for name in "ab" for i in range(20)}
    assert all(len(r["measurements"]) == 3 for r in found.records)
    assert found.notes == []


def test_lock_that_is_held_too_long_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = append(tmp_path, record())
    monkeypatch.setattr(history, "LOCK_SECONDS", 0.05)
    with history._locked(path), pytest.raises(BenchmarkError, match="another process has been writing"):
        append(tmp_path, record("b"))


def test_every_line_is_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(tmp_path, {**record(), "peaks": {"matmul": {"best": float("nan")}}})
    path = append(tmp_path, record("b"))
    assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())


def test_identity_of_a_cell_follows_code_configuration_machine_and_process() -> None:
    environment, cell = {"code": "one", "cpu": "A"}, row()
    same = history.cell_identity(environment, cell)
    others = [
        history.cell_identity({**environment, "code": "two"}, cell),
        history.cell_identity({**environment, "cpu": "B"}, cell),
        history.cell_identity(environment, row(case="y")),
        history.cell_identity(environment, row(process=1)),
        history.cell_identity(environment, {**cell, "params": {}}),
    ]
    assert same == history.cell_identity(dict(environment), row(seconds=2.0))
    assert same not in others
    assert len(set(others)) == len(others)
