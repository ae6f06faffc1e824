"""A bench record as the JSON of pytest-benchmark, for services that read that and nothing else.

Its "rounds" are our processes: each cell is one benchmark whose data are the values of its fresh processes (the median
of a process's rounds, in seconds a call), so that minimum, deviation and quartiles, which those services draw and
alarm at, are over what varies from run to run. The raw rounds go along in `extra_info`. Invalid cells have no number
and are left out; their reasons stand under `invalid`, beside the fields that pytest-benchmark knows. Statistics are
computed by pytest-benchmark itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest_benchmark
from pytest_benchmark.stats import Stats

from benchmarks.measurement import Record, check_record
from benchmarks.summary import Row, rows


def pytest_benchmark_json(record: Record) -> Record:
    """The JSON document, in the layout of pytest-benchmark 5. Raises `BenchmarkError` for what is no bench record."""
    check_record(record, source="the record")
    found = rows(record)
    return {
        "machine_info": _machine(record["environment"]),
        "commit_info": _commit(record),
        "benchmarks": [_benchmark(row) for row in found if row.processes],
        "invalid": {_name(row): "; ".join(row.invalid) for row in found if row.invalid},
        "datetime": record.get("created"),
        "version": pytest_benchmark.__version__,
    }


def _machine(environment: Mapping[str, Any]) -> Record:
    """The whole environment, with the entries by which pytest-benchmark tells machines apart."""
    cpu = {"brand_raw": environment.get("cpu"), "count": environment.get("cores_online")}
    system, _, release = str(environment.get("system", "")).partition(" ")
    implementation, _, version = str(environment.get("python", "")).partition(" ")
    known = {
        "node": environment.get("host"), "processor": environment.get("cpu"),
        "machine": environment.get("architecture"), "system": system, "release": release,
        "python_implementation": implementation, "python_version": version,
    }  # fmt: skip
    return {**environment, **known, "cpu": cpu}


def _commit(record: Record) -> Record:
    code = record["environment"].get("code")
    when = record.get("created")
    return {
        "id": code,
        "time": when,
        "author_time": when,
        "dirty": False,
        "project": "ddpm-bench",
        "branch": "(unknown)",
    }


def _name(row: Row) -> str:
    return f"{row.case}[{row.device}-{row.mode}-{row.tuning}]"


def _benchmark(row: Row) -> Record:
    stats = Stats()
    for value in row.processes:
        stats.update(value)
    name = _name(row)
    extra = {
        "work": row.work,
        "unit": row.unit,
        "flops": row.flops,
        "rounds_of_processes": [list(r) for r in row.rounds],
    }
    options = {
        "disable_gc": False,
        "timer": "perf_counter",
        "min_rounds": 1,
        "max_time": 0.0,
        "min_time": 0.0,
        "warmup": True,
    }
    return {
        "group": row.case, "name": name, "fullname": f"benchmarks::{name}", "param": None, "extra_info": extra,
        "params": {"device": row.device, "mode": row.mode, "tuning": row.tuning}, "options": options,
        "stats": {**stats.as_dict(), "iterations": 1, "data": list(row.processes)},
    }  # fmt: skip
