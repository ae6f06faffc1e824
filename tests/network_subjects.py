"""Subjects for the tests of the network's checks: the reference with whatever network is put into it."""

from __future__ import annotations

from typing import Any

from verification.reference import ReferenceSubject
from verification.reference_network import SMALL, ReferenceNetwork

TINY: dict[str, Any] = {**SMALL, "base_channels": 8}


def with_network(network: ReferenceNetwork, **choices: Any) -> ReferenceSubject:
    """The reference, with this network; float64 unless `choices` say otherwise."""
    subject = ReferenceSubject(**choices)
    subject._use_network(network)
    return subject
