"""Every subject is judged by every check, but the network once a mode."""

from __future__ import annotations

from verification.check import Check
from verification.plan import plan
from verification.protocol import SubjectSpec


def check(name: str, *needs: str) -> Check:
    return Check(name, "", "", needs, lambda _: iter(()), 0, (), "")


CHECKS = [check("FWD", "q_sample"), check("NET", "network"), check("GRAD", "network_gradient")]


def names(mode: str | None, *options: dict[str, object]) -> list[list[str]]:
    specs = [SubjectSpec("m:f", option if mode is None else {**option, "mode": mode}) for option in options]
    return [[each.id for each in chosen] for _, chosen in plan(specs, CHECKS)]


def test_one_subject_is_judged_by_everything() -> None:
    assert names(None, {}) == [["FWD", "NET", "GRAD"]]


def test_network_is_judged_on_the_first_subject_of_a_mode() -> None:
    assert names("graph", {}, {"schedule": "cosine"}) == [["FWD", "NET", "GRAD"], ["FWD"]]


def test_network_is_judged_in_every_mode() -> None:
    specs = [SubjectSpec("m:f", {"mode": mode}) for mode in ("graph", "pynative")]
    assert all(len(chosen) == len(CHECKS) for _, chosen in plan(specs, CHECKS))
