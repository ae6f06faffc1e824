"""The layers of a forward pass, each with the time of its operator: how single operators explain a whole net.

A record's rows of single operators (`operators.py`) are laid out along the network: every part of it gets the seconds
of the operator that stands there, one value a process. So the sum over the parts is what the net would take if nothing
lay between them and nothing was fused; what a whole call takes beyond that, or less, is said beside it
(`breakdown.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from benchmarks.cases import Case
from benchmarks.measurement import Measurement, Record
from benchmarks.operators import NETS, Part, cases, parts

Setting = tuple[str, str, str]
"""Device, mode, tuning."""


def wanted(chosen: Iterable[Case]) -> tuple[Case, ...]:
    """The cases of the operators that the forward passes among the `chosen` cases consist of."""
    nets = dict.fromkeys(
        (case.params["preset"], case.params["batch"])
        for case in chosen
        if case.id.startswith("unet_forward") and case.params["preset"] in NETS and "dtype" not in case.params
    )
    return tuple(
        case for net in nets for case in cases(*net) if case.params["direction"] == "forward" and not _extra(case)
    )


def _extra(case: Case) -> bool:
    """Whether no net has it: the products that convolutions amount to are there to compare with."""
    return bool(case.params["kind"] == "matmul")


def layers(rows: Iterable[Measurement], seconds: Callable[[Measurement], float] = attrgetter("value")) -> list[Record]:
    """Of each net and setting for which every operator was measured, an entry for each part, in the net's order.

    An entry is {"case": the forward pass it belongs to, "device", "mode", "tuning", "layer": path in the network,
    "kind", "seconds": one run's, a value for each process, "flops", "bytes": of one run}. `seconds`: what a process's
    call takes, of its rounds; the median unless told otherwise.
    """
    times: dict[Setting, dict[str, list[float]]] = {}
    nets: dict[tuple[str, int], None] = {}
    for row in rows:
        if row.invalid is None and row.unit == "calls":
            nets[row.params["preset"], row.params["batch"]] = None
            times.setdefault(row.cell[1:], {}).setdefault(row.case, []).append(seconds(row) / row.params["repeats"])
    return [
        entry
        for name, batch in nets
        for setting, by_case in times.items()
        for entry in _entries(name, batch, setting, by_case)
    ]


def _entries(name: str, batch: int, setting: Setting, by_case: dict[str, list[float]]) -> Iterator[Record]:
    net: tuple[Part, ...] = parts(NETS[name], batch)
    if not all(operator.id(name) in by_case for _, operator in net):
        return  # some were not asked for, or are invalid: a net with holes explains nothing
    for path, operator in net:
        yield {
            "case": f"unet_forward[{name},b{batch}]",
            **dict(zip(("device", "mode", "tuning"), setting, strict=True)),
            "layer": path,
            "kind": operator.kind,
            "seconds": by_case[operator.id(name)],
            "flops": operator.flops or None,
            "bytes": operator.bytes,
        }
