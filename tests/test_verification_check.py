"""A check always ends in exactly one finding, whatever the subject does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from verification import check as judge
from verification.affine import remembered
from verification.check import Check, Evidence, Finding, check, generator, run_checks, select
from verification.protocol import Subject, VerificationError
from verification.randomness import using
from verification.reference import ReferenceSubject
from verification.tolerance import compare

x, t, eps = np.ones((2, 3)), np.array([0, 1]), np.zeros((2, 3))


class Broken(ReferenceSubject):
    """A reference whose q_sample is the given function of (self, x_0, t, eps)."""

    def __init__(self, behaviour: Callable[..., Any]) -> None:
        super().__init__(num_timesteps=4)
        self.behaviour = behaviour

    def q_sample(self, x_0: Any, t: Any, eps: Any) -> Any:
        return self.behaviour(x_0, t, eps)


def made(run: Callable[[Subject], Iterator[Evidence]], *needs: str) -> Check:
    return Check("T-1", "a claim", "a paper", needs, run, 1, (), "T0")


def q_sample_is_zero(subject: Subject) -> Iterator[Evidence]:
    yield compare(subject.q_sample(x, t, eps), np.zeros((2, 3)), 0.5, labels=("b", "i"), reason="half")


def verdict(subject: Any, run: Callable[[Subject], Iterator[Evidence]] = q_sample_is_zero) -> Finding:
    (finding,) = run_checks(subject, [made(run)])
    return finding


def test_right_result_passes_with_its_ratio() -> None:
    finding = verdict(Broken(lambda *_: np.full((2, 3), 0.25)))
    assert (finding.status, finding.observed, finding.allowed, finding.ratio) == ("passed", 0.25, 0.5, 0.5)


def test_wrong_result_fails_and_says_where() -> None:
    finding = verdict(Broken(lambda *_: np.array([[0, 0, 0], [0, 0, 2.0]])))
    assert (finding.status, finding.ratio, finding.where) == ("failed", 4.0, "b=1, i=2")
    assert "got 2.0 for 0.0" in finding.reason


@pytest.mark.parametrize("error", [ValueError("no"), ZeroDivisionError(), SystemExit(3), RecursionError()])
def test_subject_that_raises_is_an_error_naming_the_exception(error: BaseException) -> None:
    def throw(*_: Any) -> None:
        raise error

    finding = verdict(Broken(throw))
    assert finding.status == "error"
    assert type(error).__name__ in finding.reason
    assert "test_verification_check.py" in finding.reason


def test_interrupt_is_not_swallowed() -> None:
    def throw(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict(Broken(throw))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (np.zeros((2, 1)), "shape (2, 1) instead of (2, 3)"),
        (np.zeros((2, 3), np.float32), "float32, but the subject's dtype is float64"),
        (np.zeros((2, 3), int), "int64, but the subject's dtype is float64"),
        ([[0.0] * 3] * 2, "returned list, not a NumPy array"),
        (None, "returned NoneType, not a NumPy array"),
        (np.full((2, 3), np.nan), "got nan"),
        (np.full((2, 3), np.inf), "got inf"),
    ],
)
def test_wrong_kind_of_result_fails_and_says_what_it_is(returned: Any, said: str) -> None:
    finding = verdict(Broken(lambda *_: returned))
    assert finding.status == "failed"
    assert said in finding.reason
    assert finding.ratio == math.inf


def test_subject_that_changes_its_input_fails() -> None:
    def scribble(x_0: Any, *_: Any) -> Any:
        x_0 *= 0
        return x_0

    finding = verdict(Broken(scribble))
    assert finding.status == "failed"
    assert "q_sample changed its argument 1" in finding.reason
    assert (x == 1).all()


def test_check_that_yields_nothing_is_an_error() -> None:
    finding = verdict(ReferenceSubject(), lambda _: iter(()))
    assert (finding.status, finding.reason) == ("error", "compared nothing")


def test_check_that_fails_and_then_breaks_off_is_failed_and_says_both() -> None:
    def run(subject: Subject) -> Iterator[Evidence]:
        yield Evidence(2.0, 1.0, "t=3", "one")
        raise KeyError("lost")

    finding = verdict(ReferenceSubject(), run)
    assert (finding.status, finding.where) == ("failed", "t=3")
    assert "then raised KeyError" in finding.reason


def test_check_that_passes_and_then_breaks_off_has_not_passed() -> None:
    def run(subject: Subject) -> Iterator[Evidence]:
        yield Evidence(0.0, 1.0, "t=3", "one")
        raise KeyError("lost")

    assert verdict(ReferenceSubject(), run).status == "error"


def test_worst_evidence_speaks_and_a_diagnosed_one_first() -> None:
    ratios = {"small": 0.1, "large": 5.0, "middle": 2.0}

    def run(subject: Subject) -> Iterator[Evidence]:
        yield from (Evidence(ratio, 1.0, where, "r") for where, ratio in ratios.items())

    def run_with_diagnosis(subject: Subject) -> Iterator[Evidence]:
        yield from run(subject)
        yield Evidence(3.0, 1.0, "diagnosed", "r", "square root missing")

    finding = verdict(ReferenceSubject(), run)
    assert (finding.where, finding.diagnosis) == ("large", "")
    assert "1 more comparisons failed" in finding.reason
    finding = verdict(ReferenceSubject(), run_with_diagnosis)
    assert (finding.where, finding.diagnosis) == ("diagnosed", "square root missing")


def test_missing_method_is_a_skip_that_names_it() -> None:
    class Partial:
        name, dtype, q_sample = "partial", "float64", None

    (finding,) = run_checks(Partial(), [made(q_sample_is_zero, "name", "q_sample", "p_step")])  # type: ignore[arg-type]
    assert finding.status == "skipped"
    assert finding.reason == "the subject has no q_sample and no p_step"


def test_attribute_that_raises_is_an_error_not_a_crash() -> None:
    class Explosive(ReferenceSubject):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"{name}: boom")

    (finding,) = run_checks(Explosive(num_timesteps=4), [made(q_sample_is_zero, "network")])
    assert finding.status == "error"
    assert "boom" in finding.reason


@pytest.mark.parametrize(("observed", "allowed"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1e-30, 0.0)])
def test_evidence_that_is_not_within_its_bound_fails_with_infinite_ratio(observed: float, allowed: float) -> None:
    evidence = Evidence(observed, allowed, "", "")
    assert not evidence.passed
    assert evidence.ratio == math.inf


def test_exact_hit_passes_even_when_nothing_is_allowed() -> None:
    evidence = Evidence(0.0, 0.0, "", "")
    assert evidence.passed
    assert evidence.ratio == 0


def test_every_check_has_one_finding_and_each_is_reported_as_it_comes() -> None:
    heard: list[Finding] = []
    checks = [made(q_sample_is_zero), made(lambda _: iter(())), made(q_sample_is_zero, "nothing")]
    findings = run_checks(ReferenceSubject(), checks, on_finding=heard.append)
    assert [finding.status for finding in findings] == ["failed", "error", "skipped"]
    assert heard == findings


def test_reproduce_line_makes_this_subject_again() -> None:
    spec = "verification.reference:ReferenceSubject(schedule='cosine')"
    (finding,) = run_checks(ReferenceSubject(), [made(q_sample_is_zero)], spec=spec)
    assert finding.reproduce.startswith(
        "ddpm-bench verify --subject 'verification.reference:ReferenceSubject(schedule="
    )
    assert finding.reproduce.endswith("--only T-1")
    (finding,) = run_checks(ReferenceSubject(), [made(q_sample_is_zero)])
    assert "--subject verification.reference:ReferenceSubject --only" in finding.reproduce


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    """An empty registry in place of the real one."""
    fresh: dict[str, Check] = {}
    monkeypatch.setattr(judge, "CHECKS", fresh)
    monkeypatch.setattr(judge, "load_checks", lambda: fresh)
    return fresh


def register(id: str, level: int) -> None:  # noqa: A002 - the field's name
    check(id, claim="c", source="s", needs=(), level=level, kills=(), tolerance="T0")(q_sample_is_zero)


@pytest.mark.usefixtures("registry")
def test_same_id_twice_is_refused() -> None:
    register("A-1", 0)
    with pytest.raises(ValueError, match="defined twice"):
        register("A-1", 0)


@pytest.mark.usefixtures("registry")
def test_selection_is_by_level_and_quick_stops_at_identified_samplers() -> None:
    for id_, level in [("C-1", 4), ("B-1", 3), ("A-2.pad", 0), ("A-1", 1)]:
        register(id_, level)
    assert [each.id for each in select()] == ["A-2.pad", "A-1", "B-1"]
    assert [each.id for each in select("full")] == ["A-2.pad", "A-1", "B-1", "C-1"]
    assert [each.id for each in select(only="a-*")] == ["A-2.pad", "A-1"]
    assert [each.id for each in select(only="A-2")] == ["A-2.pad"]
    assert [each.id for each in select(only="C-1")] == ["C-1"], "asked for by name"
    assert select(only="Z") == []
    with pytest.raises(VerificationError, match="quick and full"):
        select("slow")


def test_random_inputs_are_the_same_on_every_run_and_differ_between_checks() -> None:
    assert generator("A-1").normal() == generator("A-1").normal() != generator("A-2").normal()


def test_seed_of_the_run_changes_every_checks_numbers_and_is_what_shows_them_again() -> None:
    drawn: list[float] = []

    def run(subject: Subject) -> Iterator[Evidence]:
        drawn.append(generator("T-1").normal())
        yield Evidence(0.0, 1.0, "", "")

    subject = ReferenceSubject()
    findings = [run_checks(subject, [made(run)], seed=seed)[0] for seed in (0, 7, 7, 8)]
    assert drawn[0] == generator("T-1").normal(), "seed 0 is what there is without any"
    assert drawn[1] == drawn[2]
    assert len(set(drawn)) == 3
    assert [finding.seed for finding in findings] == [0, 7, 7, 8]
    assert "--seed" not in findings[0].reproduce
    assert findings[1].reproduce.endswith("--only T-1 --seed 7")
    (nightly,) = run_checks(subject, [made(run)], seed=7, profile="nightly")
    assert nightly.reproduce.endswith("--seed 7 --profile nightly")


def test_what_is_remembered_of_a_subject_is_remembered_with_its_seed() -> None:
    subject = ReferenceSubject()
    with using(1):
        first = remembered(subject, "key", lambda: generator("a").normal())
        assert remembered(subject, "key", lambda: 0.0) == first
    with using(2):
        assert remembered(subject, "key", lambda: generator("a").normal()) != first


def test_every_registered_check_states_what_it_claims() -> None:
    checks = select("full")
    assert checks, "no checks: the judge would judge nothing"
    for each in checks:
        assert all((each.claim.strip(), each.source.strip(), each.tolerance.strip())), each.id
        assert 0 <= each.level <= 5, each.id
