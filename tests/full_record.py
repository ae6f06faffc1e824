"""Records as large as they get, made up: 28 cells of 5 processes and 120 rounds, 80 layers, 12 or more sessions."""

from __future__ import annotations

from typing import Any

import numpy as np
import records

from benchmarks import layer_times
from benchmarks.measurement import measurements
from benchmarks.selection import choose

PARTS = ("start", "import", "build", "compile", "first_run", "rounds", "gate", "other")
KINDS = ("conv3x3", "conv1x1", "group_norm", "silu", "attention", "linear", "upsample", "add", "concat", "embedding")


def bench(day: int = 1, *, cells: int = 28, processes: int = 5, rounds: int = 120, slow: float = 1.0) -> dict[str, Any]:
    """A bench record of that day of January 2025, `slow` times as slow as usual."""
    rng = np.random.default_rng(day)
    rows = []
    for process in range(processes):
        for i in range(cells):
            base = 0.034 * (1 + i) * slow * float(np.exp(rng.normal(0, 0.01)))
            mode = ("graph", "pynative")[i % 2]
            params = {"device": "CPU", "mode": mode, "tuning": "tuned", "rounds": rounds, "batch": 64}
            if mode == "graph" and i < 4:
                params["compile_cache"] = "warm" if process else "cold"
            seconds = (base * rng.lognormal(0, 0.05, rounds)).tolist()
            split = dict(zip(PARTS, (0.3, 3.1, 0.4, 2.2, 0.1, sum(seconds), 0.5, 0.05), strict=True))
            case = f"{('unet_forward', 'sampling_latency')[i % 4 // 2]}[digits,b{2 ** (i // 4)}]"
            rows.append(
                records.measurement(
                    case, process, params=params, seconds=seconds, first_call_seconds=base + 2.2, split=split,
                    unit="steps" if case.startswith("sampling_latency") else "images",
                    started=f"2025-01-{day:02}T00:00:00+00:00",
                    conditions={"wall_seconds": sum(seconds), "cpu_seconds": 1.9 * sum(seconds), "switches": 3},
                )
            )  # fmt: skip
    created = f"2025-{1 + (day - 1) // 28:02}-{1 + (day - 1) % 28:02}T00:00:00+00:00"
    return {**records.bench(*rows), "created": created, "session": f"s{day}"}


def layers(count: int = 80) -> list[dict[str, Any]]:
    """The layers of a forward pass."""
    rng = np.random.default_rng(0)
    return [
        {
            "case": "unet_forward[digits,b1]", "device": "CPU", "mode": "graph", "tuning": "tuned",
            "layer": f"down.{i // 20}.blocks.{i % 20}", "kind": KINDS[i % len(KINDS)],
            "seconds": (float(rng.uniform(1e-4, 2e-3)) * rng.lognormal(0, 0.05, 30)).tolist(),
            "flops": int(rng.uniform(1e6, 1e8)) if i % 3 else None, "bytes": int(rng.uniform(1e5, 1e7)),
        }
        for i in range(count)
    ]  # fmt: skip


def operators(processes: int = 2) -> list[dict[str, Any]]:
    """The rows of every part of the digits net in graph mode, and of its forward pass."""
    rng = np.random.default_rng(7)
    (whole, *parts) = choose("unet_forward[digits,*]", layers=True)
    where = {"device": "CPU", "mode": "graph", "tuning": "tuned"}
    return [
        records.measurement(
            case.id, process, params={**case.params, **where}, work=case.work, unit=case.unit,
            flops=case.params.get("flops", 10**9) or None,
            seconds=(float(rng.uniform(3e-3, 6e-3)) * rng.lognormal(0, 0.05, 12)).tolist(),
        )
        for case in (whole, *parts)
        for process in range(processes)
    ]  # fmt: skip


def verify() -> dict[str, Any]:
    """410 findings of 82 checks on 5 subjects."""
    found = [
        records.finding(f"CHK-{i % 82}", subject=f"subject {i // 82}", ratio=0.001 * (1 + i % 82)) for i in range(410)
    ]
    return records.verify(*found)


def all_kinds(sessions: int = 12, **size: int) -> list[dict[str, Any]]:
    """A verification, a comparison, and as many bench sessions; the newest has layers and a measured bandwidth."""
    benches = [bench(day, slow=1.0 if day <= sessions // 2 else 1.06, **size) for day in range(1, sessions + 1)]
    benches[-1]["measurements"] += operators()
    benches[-1]["layers"] = [*layers(), *layer_times.layers(measurements(benches[-1]))]
    benches[-1]["peaks"] |= {
        "convolution[mindspore]": {"start": 8e10, "end": 9e10, "best": 9e10},
        "copy[numpy]": {"start": 9e9, "end": 1e10, "best": 1e10},
    }
    benches[-1]["notes"] = ["3 pairs were dropped"]
    verdict = {
        "case": "unet_forward[digits,b1]", "label": "slower", "ratio": 1.0612, "interval": [1.04, 1.08], "why": "+4 %",
        "seconds": [0.034, 0.0361], "params": {},
    }  # fmt: skip
    compare = {"schema": 1, "kind": "compare", "created": "2025-06-01", "environment": records.ENVIRONMENT,
               "verdicts": [verdict]}  # fmt: skip
    return [verify(), compare, *benches]
