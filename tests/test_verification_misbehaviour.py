"""A subject may misbehave in every method at once: each check ends in a finding, and none is fooled by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verification.check import STATUSES, load_checks, run_checks, select
from verification.reference import ReferenceSubject

Behaviour = Callable[[Callable[[], Any]], Any]


class Odd:
    """The reference, all of whose methods, and those of its variants, behave like `behaviour` of the right call."""

    def __init__(self, behaviour: Behaviour, right: ReferenceSubject | None = None) -> None:
        self._behaviour = behaviour
        self._right = right or ReferenceSubject(num_timesteps=8)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._right, name)
        if not callable(found):
            return found
        return lambda *args, **choices: self._behaviour(lambda: found(*args, **choices))

    def variant(self, **choices: Any) -> Odd:
        return Odd(self._behaviour, self._right.variant(**choices))


def of_each(change: Callable[[Any], Any]) -> Behaviour:
    """`change` of the array that a method returns, or of each of several."""

    def behave(call: Callable[[], Any]) -> Any:
        right = call()
        if isinstance(right, dict):
            return {name: change(value) for name, value in right.items()}
        return tuple(map(change, right)) if isinstance(right, tuple) else change(right)

    return behave


def raises(error: BaseException) -> Behaviour:
    def behave(_: Callable[[], Any]) -> Any:
        raise error

    return behave


WAYS: dict[str, Behaviour] = {
    "raises": raises(ValueError("no")),
    "exits": raises(SystemExit(3)),
    "None": lambda _: None,
    "text": lambda _: "x",
    "no numbers": lambda _: np.zeros(0),
    "one number": of_each(lambda right: np.ravel(right)[:1]),
    "one axis more": of_each(lambda right: np.asarray(right)[None]),
    "NaN": of_each(lambda right: np.asarray(right) * np.nan),
    "infinity": of_each(lambda right: np.asarray(right) * np.inf),
    "objects": of_each(lambda right: np.asarray(right).astype(object)),
    "half precision": of_each(lambda right: np.asarray(right).astype(np.float16)),
}

BLIND = {
    "NAM-1": "asks for refusals, and gets them",
    "MODE-3": "compares a call with itself",
    "NLL-1": "compares a call with itself",
    "FWD-2": "compares a batch with its images, and infinities are equal",
    "STR-4": "reads one number of the time steps, which is the right one",
    "SCH-4": "asks for order in the tables, whatever their type; so does SCH-10",
    "SCH-10": "as SCH-4",
    "SCH-5": "reads one number of a table, whatever its type",
    "LOS-1": "a loss of 0 is 0 in half precision too",
    "DTY-1": "asks for half precision",
}
"""Checks that may be content with such a subject, and why."""


@pytest.mark.parametrize("way", WAYS)
def test_subject_that_misbehaves_gets_one_finding_a_check_and_no_false_praise(way: str) -> None:
    checks = select("quick")
    findings = run_checks(Odd(WAYS[way]), checks)  # type: ignore[arg-type]  # its attributes are the reference's
    assert [finding.check for finding in findings] == [check.id for check in checks]
    assert {finding.status for finding in findings} <= set(STATUSES)
    praised = {finding.check for finding in findings if finding.status == "passed"}
    assert praised <= set(BLIND), praised - set(BLIND)
    assert sum(finding.status in ("failed", "error") for finding in findings) > 50


def property_of(kind: str, error: BaseException) -> Any:
    """A subject whose attribute `kind` raises."""

    def get(_: object) -> Any:
        raise error

    return type("Faulty", (Odd,), {kind: property(get)})(lambda call: call())


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=str)
@pytest.mark.parametrize("kind", ["dtype", "num_timesteps", "schedule", "variance", "clip_x_0"])
def test_attribute_that_raises_is_an_error_of_the_checks_that_read_it(kind: str, error: BaseException) -> None:
    checks = [load_checks()[each] for each in ("SMP-1", "FWD-1", "SMP-7", "STR-1")]
    findings = run_checks(property_of(kind, error), checks)
    assert len(findings) == len(checks)
    assert f"raised {type(error).__name__}" in next(f.reason for f in findings if f.status == "error")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=str)
def test_name_that_raises_is_replaced_by_the_spec(error: BaseException) -> None:
    (finding,) = run_checks(property_of("name", error), [load_checks()["FWD-1"]], spec="house:Faulty")
    assert (finding.status, finding.subject) == ("passed", "house:Faulty")


def test_name_that_hangs_is_an_error_that_says_so() -> None:
    faulty = type("Slow", (Odd,), {"name": property(lambda _: time.sleep(60))})(lambda call: call())
    (finding,) = run_checks(faulty, [load_checks()["FWD-1"]], limit=0.1, spec="house:Slow")
    assert (finding.status, finding.subject) == ("error", "house:Slow")
    assert "name had not returned after 0.1 s" in finding.reason


@pytest.mark.parametrize("kind", ["name", "dtype", "num_timesteps"])
def test_interrupt_stops_the_run_wherever_it_comes(kind: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_checks(property_of(kind, KeyboardInterrupt()), [load_checks()["FWD-1"]])


class Views(ReferenceSubject):
    """Hands out its own table, and writes into it when it is next asked for a sample."""

    def tables(self) -> dict[str, np.ndarray]:
        return {**super().tables(), "beta": self.beta}

    def q_sample(self, x_0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> np.ndarray:
        self.beta *= 1 + 1e-12
        return super().q_sample(x_0, t, eps)


def test_table_that_changes_after_it_was_handed_out_is_seen() -> None:
    (finding,) = run_checks(Views(num_timesteps=8), [load_checks()["MODE-3"]])
    assert (finding.status, finding.where[:6]) == ("failed", "tables")


class Restless(ReferenceSubject):
    """Never gives the same answer twice."""

    def q_sample(self, x_0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> np.ndarray:
        return super().q_sample(x_0, t, eps) + 1e-12 * np.random.default_rng().standard_normal(np.shape(x_0))


def test_answer_that_is_not_repeated_is_seen() -> None:
    (finding,) = run_checks(Restless(num_timesteps=8), [load_checks()["MODE-3"]])
    assert finding.status == "failed"
    assert finding.where.startswith("q_sample")


def test_list_for_an_array_is_a_breach_that_is_named() -> None:
    class Lists(ReferenceSubject):
        def q_sample(self, *args: Any) -> Any:
            return super().q_sample(*args).tolist()

    (finding,) = run_checks(Lists(num_timesteps=8), [load_checks()["FWD-1"]])
    assert finding.status == "failed"
    assert "q_sample returned" in finding.reason
    assert "not a NumPy array" in finding.reason
