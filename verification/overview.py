"""A run at a glance: how each level fared and how close to its bounds, what was skipped and why, what is slack.

A bound is slack when no subject of the run ever used more than a thousandth of it. Such a check still fails what is
wrong by more than its bound, but its bound says less than the mathematics could: either the derivation is loose, or the
subjects that were judged happen to round well. It is listed, and fails nothing. What is true or false, or equal bit for
bit, has no bound that could be slack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from verification.check import CHECKS, LACKS, LACKS_TOO, Check, Finding

LEVELS = ("tables", "maps", "identities", "samplers, networks", "statistics", "training, types, symmetries")
"""What the levels of checks are about, by number."""

FAILING = ("failed", "unexpected_pass", "error")
"""The statuses that make a run fail."""

SLACK_RATIO = 1e-3
EFFECTS = ("NET-2",)
"""Obligations that ask for an effect larger than rounding: their bound is the effect, and a small ratio the point."""

SHOWN = 8
"""Names that a line of the overview lists before it says how many more there are."""


@dataclass(frozen=True)
class Level:
    """The findings of one level: how many `checks`, the `counts` of their statuses, the passed one that used most."""

    number: int
    checks: int
    counts: Counter[str]
    closest: Finding | None

    @property
    def failed(self) -> int:
        """Findings that make the run fail."""
        return sum(self.counts[status] for status in FAILING)


@dataclass(frozen=True)
class Slack:
    """A check whose bound was never used above `SLACK_RATIO`; `ratio` is the most that `subjects` of them did."""

    check: str
    ratio: float
    subjects: int


def levels(findings: Iterable[Finding]) -> list[Level]:
    """The levels that were run, in order; findings of no check (a stray known failure) belong to none."""
    grouped: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.check in CHECKS:
            grouped.setdefault(CHECKS[finding.check].level, []).append(finding)
    return [_level(number, grouped[number]) for number in sorted(grouped)]


def _level(number: int, found: Sequence[Finding]) -> Level:
    passed = [finding for finding in found if finding.status == "passed" and finding.ratio]
    closest = max(passed, key=lambda finding: finding.ratio or 0.0, default=None)
    return Level(number, len({f.check for f in found}), Counter(f.status for f in found), closest)


def slack(findings: Iterable[Finding]) -> list[Slack]:
    """The checks of the run whose bounds are slack, the slackest first."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.ratio is not None and finding.check.partition(".")[0] not in EFFECTS:
            grouped.setdefault(finding.check, []).append(finding)
    found = [Slack(check, _most(each), len(each)) for check, each in grouped.items() if all(map(_is_bounded, each))]
    return sorted((each for each in found if each.ratio < SLACK_RATIO), key=lambda each: (each.ratio, each.check))


def _most(findings: Sequence[Finding]) -> float:
    return max(finding.ratio or 0.0 for finding in findings)


def _is_bounded(finding: Finding) -> bool:
    """Whether the finding speaks of an error and a bound: not of equality, and not of a claim that holds or does not.

    `tolerance.holds` observes 0 of one half. A check of both kinds is represented by the error, where there was one.
    """
    return bool(finding.allowed) and not (finding.observed == 0 and finding.allowed == 0.5)


def skipped(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Each reason for skipping, with the ids of the checks that were skipped for it."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.status == "skipped" and finding.check not in reasons.setdefault(finding.reason, []):
            reasons[finding.reason].append(finding.check)
    return reasons


def missing(findings: Iterable[Finding]) -> tuple[Counter[str], dict[str, list[str]]]:
    """How many checks wait for each method that the subject does not have, and what was skipped for other reasons."""
    waiting: Counter[str] = Counter()
    others: dict[str, list[str]] = {}
    for reason, checks in skipped(findings).items():
        if reason.startswith(LACKS):
            waiting.update({name: len(checks) for name in reason.removeprefix(LACKS).split(LACKS_TOO)})
        else:
            others[reason] = checks
    return waiting, others


def slowest(findings: Iterable[Finding], count: int = 3) -> list[tuple[str, float]]:
    """The `count` checks that took longest over all subjects, with their seconds."""
    seconds: Counter[str] = Counter()
    for finding in findings:
        seconds[finding.check] += finding.seconds  # type: ignore[assignment]  # a Counter of seconds
    return [(check, float(spent)) for check, spent in seconds.most_common(count)]


def lines(findings: Sequence[Finding]) -> list[str]:
    """The overview for a terminal, each line short enough for 80 columns."""
    told = [f"{'level':22}{'checks':>7}{'passed':>8}{'failed':>8}{'other':>7}  nearest its bound"]
    told += [_row(level) for level in levels(findings)]
    told += [""]
    waiting, others = missing(findings)
    if waiting:
        told += [f"skipped for want of: {_few([f'{name} ({count})' for name, count in waiting.most_common()])}"]
    told += [f"skipped, as {reason}: {_few(checks)}" for reason, checks in others.items()]
    loose = slack(findings)
    if loose:
        told += [f"slack, never above {SLACK_RATIO:g} of the bound: {_few([each.check for each in loose])}"]
    told += [f"slowest: {', '.join(f'{check} {seconds:.1f} s' for check, seconds in slowest(findings))}"]
    return told


def _row(level: Level) -> str:
    name = f"L{level.number} {LEVELS[level.number]}"
    passed, rest = level.counts["passed"], level.counts["skipped"] + level.counts["known_failure"]
    closest = f"{level.closest.ratio:.2g} {level.closest.check}" if level.closest else "—"
    return f"{name:22}{level.checks:>7}{passed:>8}{level.failed or '':>8}{rest or '':>7}  {closest}"


def _few(checks: Sequence[str]) -> str:
    more = f" and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
    return ", ".join(checks[:SHOWN]) + more


def listing(checks: Sequence[Check]) -> str:
    """What each of `checks` claims, and where the claim is from, a line each; then how many they are."""
    lines = [f"{each.id:18} L{each.level}  {each.claim} ({each.source})" for each in checks]
    return "\n".join([*lines, f"{len(checks)} checks"])
