"""Small records of every kind, made up, for the tests of what reads records."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

ENVIRONMENT = {"code": "c0de", "mindspore": "2.10.0", "numpy": "1.26.4", "cpu": "a processor", "cores_usable": 2}


def finding(check: str = "FWD-1", status: str = "passed", **changes: Any) -> Record:
    """A finding at half of its bound."""
    usual = {
        "check": check, "status": status, "observed": 5e-8, "allowed": 1e-7, "ratio": 0.5, "where": "t=17",
        "reason": "T1: three roundings", "diagnosis": "", "seed": 7, "reproduce": f"ddpm-bench verify --only {check}",
        "subject": "linear-1000", "seconds": 0.01,
    }  # fmt: skip
    return {**usual, **changes}


def verify(*findings: Record, **environment: Any) -> Record:
    """A verification record of `findings`."""
    return {
        "schema": 1, "kind": "verify", "created": "2025-01-01T00:00:00+00:00", "tier": "quick", "subjects": [],
        "environment": {**ENVIRONMENT, **environment}, "findings": list(findings),
    }  # fmt: skip


def measurement(case: str = "unet_forward[cifar10,b4]", process: int = 0, **changes: Any) -> Record:
    """Three rounds around half a second."""
    usual = {
        "case": case, "params": {"device": "CPU", "mode": "graph", "tuning": "tuned", "rounds": 3}, "process": process,
        "seconds": [0.5, 0.52, 0.51], "first_call_seconds": 6.0, "flops": 49_774_854_144, "peak_rss_bytes": 2**31,
        "cpu_over_wall": 1.9, "work": 4, "unit": "images", "import_seconds": 3.0, "proof": {}, "conditions": {},
        "invalid": None,
    }  # fmt: skip
    return {**usual, **changes}


def bench(*measurements: Record, **environment: Any) -> Record:
    """A bench record of `measurements` on a machine that multiplies matrices at 190 GFLOP/s."""
    return {
        "schema": 1, "kind": "bench", "created": "2025-01-01T00:00:00+00:00", "session": "s",
        "environment": {**ENVIRONMENT, **environment}, "measurements": list(measurements),
        "unavailable": [{"device": "GPU", "mode": "graph", "reason": "unavailable: no GPU"}],
        "peaks": {"numpy_gemm": {"start": 1.89e11, "end": 1.9e11, "best": 1.9e11}}, "notes": [],
    }  # fmt: skip
