"""The export is read by pytest-benchmark's own comparison, and says what the record says."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import records

from benchmarks.export import pytest_benchmark_json
from benchmarks.measurement import BenchmarkError

COMPARE = "from pytest_benchmark.cli import main; main()"


def two_processes(factor: float = 1.0) -> records.Record:
    first = records.measurement(seconds=[0.5 * factor, 0.52 * factor, 0.51 * factor])
    second = records.measurement(process=1, seconds=[0.6 * factor, 0.7 * factor, 0.61 * factor])
    return records.bench(first, second)


def test_rounds_of_the_export_are_the_values_of_processes() -> None:
    (found,) = pytest_benchmark_json(two_processes())["benchmarks"]
    assert found["stats"]["data"] == [0.51, 0.61]
    assert found["stats"]["rounds"] == 2
    assert found["stats"]["mean"] == pytest.approx(0.56)
    assert found["stats"]["stddev"] == pytest.approx(statistics.stdev([0.51, 0.61]))
    assert found["extra_info"]["rounds_of_processes"] == [[0.5, 0.52, 0.51], [0.6, 0.7, 0.61]]


def test_pytest_benchmark_compares_two_exports(tmp_path: Path) -> None:
    """Its command-line comparison, in a process of its own, reads both files and finds the second 10 % slower."""
    paths = [tmp_path / "0001_old.json", tmp_path / "0002_new.json"]
    for path, factor in zip(paths, (1.0, 1.1), strict=True):
        path.write_text(json.dumps(pytest_benchmark_json(two_processes(factor)), allow_nan=False))
    table = tmp_path / "table.csv"
    command = [sys.executable, "-c", COMPARE, "compare", *map(str, paths), f"--csv={table}", "--columns=mean,rounds"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "unet_forward[cifar10,b4][CPU-graph-tuned]" in done.stdout
    with table.open() as file:
        means = sorted(float(row["mean"]) for row in csv.DictReader(file))
    assert means[1] / means[0] == pytest.approx(1.1)


def test_invalid_cell_has_no_number_and_its_reason() -> None:
    bad = records.measurement(seconds=[], invalid="zeros came back")
    found = pytest_benchmark_json(records.bench(bad))
    assert found["benchmarks"] == []
    assert found["invalid"] == {"unet_forward[cifar10,b4][CPU-graph-tuned]": "zeros came back"}


def test_other_kind_of_record_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="kind 'verify'"):
        pytest_benchmark_json(records.verify(records.finding()))
