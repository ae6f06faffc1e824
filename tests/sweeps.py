"""Sweeps over builds, made up: the real `versions.sweep` over records that no worker measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks import duel, implementations, versions, versions_builds, versions_gate, versions_ledger
from benchmarks.arms import Arm
from benchmarks.builds import Build
from benchmarks.cases import Case, select
from benchmarks.implementations import Kernels
from benchmarks.layer_times import wanted
from benchmarks.onednn import Choice, Primitive
from benchmarks.versions import Question

Record = dict[str, Any]
Times = Mapping[tuple[str, str], float | None]
"""Case and mode to seconds a call; None for a number that the gate refused."""

FORWARD, STEP = "unet_forward[digits,b64]", "training_step[digits,b64]"
COMMAND = "ddpm-bench versions 2.8.0 2.9.0 2.10.0"
ENVIRONMENT = {
    "code": "c0de", "cpu": "a processor", "cpu_isa": "avx2", "cores_usable": 2,
    "system": "Linux 6.1", "python": "CPython 3.11.2",
    "numpy": "1.26.4", "host": "a",
}  # fmt: skip
OUTPUT = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)


def rounded(output: NDArray[np.float32] = OUTPUT) -> NDArray[np.float32]:
    """Another order of the same sums: some entries move to a neighbour, this way or that."""
    moved = np.random.default_rng(1).choice(np.array([-9, 0, 9], np.float32), output.shape)
    return np.where(moved != 0, np.nextafter(output, moved), output)


def arm(
    label: str, times: Times, *, processes: int = 8, rounds: int = 12, noise: float = 0.002, **environment: Any
) -> Record:
    """A bench record of one build, its processes as far apart as `noise` says."""
    random = np.random.default_rng(len(label) * 1000 + sum(map(ord, label)))
    rows = [
        {
            "case": case, "params": {"device": "CPU", "mode": mode, "tuning": "stock", "rounds": rounds}, "process": i,
            "seconds": [] if seconds is None else list(seconds * np.exp(random.normal(0, noise)) * np.ones(rounds)),
            "first_call_seconds": 1.0, "flops": None, "peak_rss_bytes": None, "cpu_over_wall": None, "work": 64,
            "unit": "calls" if case.startswith("conv") else "images", "import_seconds": 1.0, "interleaved": True,
            "proof": {"gate": {"refused": "the output is off by 3"} if seconds is None else
                      {"error": 1e-6, "allowed": 1e-5}},
            "invalid": "the output is off by 3" if seconds is None else None,
        }
        for (case, mode), seconds in times.items()
        for i in range(processes)
    ]  # fmt: skip
    return {
        "schema": 1, "kind": "bench", "created": "2025-01-01T00:00:00+00:00", "session": "s", "arm": label,
        "measurements": rows, "notes": [], "environment": {**ENVIRONMENT, "mindspore": label, **environment},
    }  # fmt: skip


def layers(case: str, mode: str, seconds: Mapping[str, float]) -> list[Record]:
    """Two layers of each kind, whose seconds are those of both together."""
    return [
        {"case": case, "device": "CPU", "mode": mode, "tuning": "stock", "layer": f"{kind}.{i}", "kind": kind,
         "seconds": [value / 2] * 3}
        for kind, value in seconds.items()
        for i in range(2)
    ]  # fmt: skip


def sweep(
    arms: Mapping[str, Record],
    *,
    outputs: Mapping[str, NDArray[Any]] | None = None,
    broken: Mapping[str, str] | None = None,
    verify: bool = False,
    ledger: bool = False,
    remedies: Mapping[str, Mapping[str, str]] = {},
    closer: Mapping[str, float] | None = None,
    **keeping: Any,
) -> Record:
    """The versions record of these `arms`; `outputs` of those that differ; `broken`: newest builds, with reasons.

    `closer`: how much longer each kind of layer takes in the newer build of a step, when they are measured again.
    """

    def fight(bout: duel.Bout, *, on_outputs: Any, **_: Any) -> Mapping[str, Record]:
        if "remedy" in bout.about:
            return cured(bout, arms)
        if "closer" in bout.about:
            return measured_again(bout, arms, closer or {})
        if "rows" in bout.about:
            return {}
        for label, record in arms.items():
            for row in record["measurements"]:
                cell = (row["case"], "CPU", row["params"]["mode"])
                on_outputs(label, cell, [] if row["invalid"] else [(outputs or {}).get(label, OUTPUT)])
        return arms

    def contents(python: Path) -> versions_builds.Contents:
        name = python.name
        return versions_builds.Contents(
            "p", {"libdnnl": f"libdnnl.so.{2 if name < '2.9' and '2.10' not in name else 3} Rl2J"}
        )

    builds = [
        Build(label, Path("/opt") / label, str(record["environment"]["mindspore"])) for label, record in arms.items()
    ]
    builds += [Build(label, None, label, reason) for label, reason in (broken or {}).items()]
    picks = tuple((case, mode) for case in select(f"{FORWARD} {STEP}") for mode in ("graph", "pynative"))
    picks += tuple((part, "graph") for part in wanted(select(FORWARD))) if closer is not None else ()
    changes = compared_ledgers if ledger else None
    question = Question(picks, pairs=8, verify=verify, changes=changes, remedies=remedies)
    with (
        mock.patch.object(duel, "fight", fight),
        mock.patch.object(versions, "contents", contents),
        mock.patch.object(implementations, "ask", asked),
        mock.patch.object(versions_gate, "judge", judged),
        mock.patch.object(versions_ledger, "measure", accurate),
    ):
        found = versions.sweep(builds, question, reference="m:f", keeping=versions.Keeping(**keeping))
    return {**found, "command": COMMAND}


def measured_again(bout: duel.Bout, arms: Mapping[str, Record], longer: Mapping[str, float]) -> dict[str, Record]:
    """Two builds whose layers take 1 ms each on average, by rounds of half and of twice as long, give or take 3 % a
    pair in the newer build, but for kinds that take `longer` there."""
    random = np.random.default_rng(5)
    kinds = dict.fromkeys(str(case.params["kind"]) for case, _ in bout.picks)
    met = {kind: np.exp(random.normal(0, 0.03, bout.most_pairs)) * longer.get(kind, 1.0) for kind in kinds}
    old, new = (arm.label for arm in bout.arms)
    rounds = 0.001 * np.array([0.5, 0.5, 2.0])

    def row(case: Case, mode: str, process: int, factor: float) -> Record:
        params = {**case.params, "device": "CPU", "mode": mode, "tuning": "stock", "rounds": 3}
        timed = list(case.params["repeats"] * factor * rounds)
        like = arms[old]["measurements"][0]
        return {**like, "case": case.id, "params": params, "process": process, "seconds": timed, "unit": "calls"}

    return {
        label: {
            **arms[label],
            "measurements": [
                row(case, mode, i, met[str(case.params["kind"])][i] if label == new else 1.0)
                for case, mode in bout.picks
                for i in range(bout.most_pairs)
            ],
        }
        for label in (old, new)
    }


def cured(bout: duel.Bout, arms: Mapping[str, Record]) -> dict[str, Record]:
    """A build as it comes, and a hundred times as fast with the remedy."""
    build, _, variables = bout.about["remedy"]
    plain, remedied = (arm(str(arms[build]["environment"]["mindspore"]), times(forward)) for forward in (3.4, 0.034))
    remedied["environment"] |= {f"env.{name}": value for name, value in variables.items()}
    return {
        label: {**record, "measurements": [r for r in record["measurements"] if r["case"] == bout.picks[0][0].id
                                           and r["params"]["mode"] == bout.picks[0][1]]}
        for label, record in zip(("as it comes", "with the remedy"), (plain, remedied), strict=True)
    }  # fmt: skip


def asked(arm: Arm, cases: Sequence[Case], **_: Any) -> Kernels:
    """What a build says of its kernels: from 2.9.0 on the convolution is another one; the nightly says nothing."""
    if arm.label.startswith("nightly"):
        return Kernels(None, {}, "asking for kernels ended with exit code 1")
    kernel, seconds = ("ref:any", 1.2) if arm.label >= "2.9" or arm.label == "2.10.0" else ("gemm:jit", 0.01)
    return Kernels("oneDNN", {cases[0].id: {Primitive("convolution", "forward", "mb64"): Choice(kernel, 2, seconds)}})


def judged(arm: Arm, _: str) -> versions_gate.Gate:
    """What comes of the gate: a check fails under the nightly, and 2.10.0 cannot be judged."""
    if arm.label.startswith("nightly"):
        return versions_gate.Gate(arm.label, 409, 410, ("FWD-1 on linear-1000",))
    if arm.label == "2.10.0":
        return versions_gate.Gate(arm.label, 0, 0, (), "judging ended with exit code 1: no such operator")
    return versions_gate.Gate(arm.label, 410, 410, ())


def accurate(arm: Arm, _: str) -> versions_ledger.Ledger:
    """How accurate a build's operators are: the nightly cannot be measured."""
    if arm.label.startswith("nightly"):
        return versions_ledger.Ledger(arm.label, (), "measuring operators ended with exit code 1: no such operator")
    return versions_ledger.Ledger(arm.label, ({"op": "erf", "ulps": 9.0 if arm.label < "2.9" else 2.0},))


def compared_ledgers(old: versions_ledger.Rows, new: versions_ledger.Rows) -> list[str]:
    """A sentence if the one operator is not what it was."""
    before, now = (rows[0]["ulps"] for rows in (old, new))
    return [] if before == now else [f"erf, float32: {before:g} → {now:g} ulps"]


def steady(labels: Sequence[str] = ("2.9.0", "2.10.0"), **changes: Times) -> dict[str, Record]:
    """Builds that are all alike in two cases and modes."""
    return {label: arm(label, times()) for label in labels}


def times(forward: float | None = 0.034, step: float | None = 0.21, pynative: float | None = 0.08) -> Times:
    """Two cases, the forward pass in both modes."""
    return {(FORWARD, "graph"): forward, (FORWARD, "pynative"): pynative, (STEP, "graph"): step}


def with_operators(labels: Sequence[str], *, nets: int = 4, operators: int = 60, **size: Any) -> dict[str, Record]:
    """As many as a sweep over two networks has, in both modes; every third convolution is 10 % faster in 2.10.0."""

    def seconds(label: str, i: int) -> float:
        return 0.01 * (1 + i) * (0.9 if label == "2.10.0" and i % 3 == 0 else 1.0)

    def cells(label: str) -> Times:
        whole = {(f"unet_forward[digits,b{i}]", mode): 0.1 for i in range(nets) for mode in ("graph", "pynative")}
        single = {
            (f"conv3x3[digits,b64,{i}-{i}@8]", mode): seconds(label, i)
            for i in range(operators)
            for mode in ("graph", "pynative")
        }
        return {**whole, **single}

    return {label: arm(label, cells(label), **size) for label in labels}


def eventful() -> Record:
    """Everything at once: a hundredfold slower build, a faster one, an invalid one, numbers of every kind, layers."""
    arms = {
        "2.7.0": arm("2.7.0", times()),
        "2.7.1.post1": arm("2.7.1.post1", times(step=0.205)),
        "2.8.0": arm("2.8.0", times(), noise=0.02),
        "2.9.0": arm("2.9.0", times(3.4, 5.1, 3.6)),
        "2.10.0": arm("2.10.0", times(2.99, None, 3.61)),
        "nightly-of-today-and-more": arm("nightly-of-today-and-more", times(3.3, 0.3, 3.62)),
    }
    arms["2.8.0"]["layers"] = layers(FORWARD, "graph", {"conv3x3": 0.020, "group_norm": 0.009, "linear": 0.003})
    arms["2.9.0"]["layers"] = layers(FORWARD, "graph", {"conv3x3": 3.3, "group_norm": 0.0085, "linear": 0.003})
    outputs = {"2.9.0": rounded(), "2.10.0": rounded() * np.float32(1.001), "nightly-of-today-and-more": OUTPUT}
    return sweep(
        arms,
        outputs=outputs,
        verify=True,
        ledger=True,
        remedies={"ONEDNN_MAX_CPU_ISA=AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"}},
        broken={"2.11.0": "cannot be installed: there is no version of mindspore==2.11.0"},
    )
