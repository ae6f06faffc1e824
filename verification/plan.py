"""Which checks each subject of a run is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verification.check import Check
from verification.protocol import SubjectSpec

Plan = list[tuple[SubjectSpec, list[Check]]]


def plan(specs: Iterable[SubjectSpec], checks: Sequence[Check]) -> Plan:
    """Each of `specs` with its `checks`: all of them, but the network's once a mode.

    The subjects of a module's `GATE` differ in schedule, variance and clipping, on which a network does not depend.
    """
    planned: Plan = []
    modes: set[object] = set()
    for spec in specs:
        mode = spec.options.get("mode")
        planned.append((spec, [each for each in checks if mode not in modes or not concerns_network(each)]))
        modes.add(mode)
    return planned


def concerns_network(each: Check) -> bool:
    """Whether the check asks for the network's output, weights or gradient."""
    return not {"network", "weights", "network_config", "network_gradient"}.isdisjoint(each.needs)
