"""A run at a glance counts everything once, says why something was skipped, and calls slack only what has a bound."""

from __future__ import annotations

from typing import Any

import pytest

from verification import overview
from verification.check import Finding, load_checks, run_checks, select
from verification.overview import SLACK_RATIO, levels, lines, skipped, slack, slowest
from verification.reference import ReferenceSubject


def found(check: str, ratio: float | None = 0.1, **changes: Any) -> Finding:
    """A passed finding that used `ratio` of a bound of 1e-6."""
    observed, allowed = (None, None) if ratio is None else (ratio * 1e-6, 1e-6)
    usual: dict[str, Any] = {"status": "passed", "observed": observed, "allowed": allowed, "ratio": ratio, "where": ""}
    usual |= {"reason": "", "diagnosis": "", "seed": 0, "reproduce": "", "subject": "s", "seconds": 1.0}
    return Finding(check=check, **(usual | changes))


def test_levels_count_every_finding_and_name_the_one_nearest_its_bound() -> None:
    load_checks()
    few = [found("FWD-1", 0.3), found("FWD-1", 0.6), found("FWD-3", 0.2, status="failed"), found("VLB-2", None)]
    maps, *others = levels(few)
    assert (maps.number, maps.checks, maps.counts["passed"], maps.failed) == (1, 2, 2, 1)
    assert maps.closest is few[1]
    assert sum(sum(level.counts.values()) for level in [maps, *others]) == len(few)


def test_finding_of_no_check_belongs_to_no_level() -> None:
    assert levels([found("A-stray-entry", None, status="unexpected_pass")]) == []


@pytest.mark.parametrize(
    ("ratios", "is_slack"),
    [
        ([1e-4, 9e-4], True),
        ([1e-4, SLACK_RATIO], False),
        ([0.0, 0.0], True),
        ([0.0, 0.5], False),
    ],
)
def test_bound_is_slack_only_if_no_subject_used_a_thousandth(ratios: list[float], is_slack: bool) -> None:
    listed = slack([found("FWD-1", ratio) for ratio in ratios])
    assert [(each.check, each.ratio, each.subjects) for each in listed] == [("FWD-1", max(ratios), 2)] * is_slack


@pytest.mark.parametrize(("observed", "allowed"), [(0.0, 0.0), (0.0, 0.5)])
def test_equality_and_truth_have_no_bound_that_could_be_slack(observed: float, allowed: float) -> None:
    assert slack([found("FWD-2", 0.0, observed=observed, allowed=allowed)]) == []


def test_effect_that_is_large_against_rounding_is_not_slack() -> None:
    assert slack([found("NET-2", 1e-6), found("NET-2.gradient", 1e-6)]) == []


def test_what_was_not_compared_is_not_slack() -> None:
    assert slack([found("FWD-1", None, status="skipped"), found("FWD-1", None, status="error")]) == []


def test_slackest_comes_first() -> None:
    assert [each.check for each in slack([found("B", 1e-4), found("A", 1e-5), found("C", 0.0)])] == ["C", "A", "B"]


def test_skips_are_grouped_by_reason_and_each_check_is_named_once() -> None:
    no_network = [found(check, None, status="skipped", reason="the subject has no network") for check in "ABA"]
    assert skipped([*no_network, found("C")]) == {"the subject has no network": ["A", "B"]}


def test_slowest_adds_up_the_seconds_of_all_subjects() -> None:
    assert slowest([found("A"), found("B", seconds=1.5), found("A")], 1) == [("A", 2.0)]


def test_real_run_fits_a_narrow_terminal() -> None:
    findings = run_checks(ReferenceSubject(num_timesteps=20), select(only="[FN]*"))
    told = lines(findings)
    assert any(line.startswith("L1 maps") for line in told)
    assert any(line.startswith("skipped for want of: ") and "network (" in line for line in told)
    assert all(len(line) <= 80 for line in told if line.startswith(("L", "level", "slowest")))


def test_missing_methods_are_counted_by_the_checks_that_wait_for_them() -> None:
    def skip(check: str, reason: str) -> Finding:
        return found(check, None, status="skipped", reason=reason)

    few = [skip("A", "the subject has no p and no q"), skip("B", "the subject has no q"), skip("C", "no torch here")]
    waiting, others = overview.missing([*few, *few])
    assert waiting == {"q": 2, "p": 1}
    assert others == {"no torch here": ["C"]}


def test_levels_have_names_for_every_check() -> None:
    assert {check.level for check in select("full")} <= set(range(len(overview.LEVELS)))
