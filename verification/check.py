"""One claim, one check, always a finding.

A check is a function that takes a subject and yields evidence: an observed error, what the mathematics allows, and
where it was seen. `run_checks` turns that into exactly one `Finding` a check, whatever the subject does: raising,
returning the wrong shape or dtype or NaN, changing its inputs. A check that compared nothing has not passed: it ends as
an error.
"""

from __future__ import annotations

import fnmatch
import importlib
import math
import pkgutil
import shlex
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

import verification
from verification.guard import SubjectError, guarded
from verification.protocol import Identity, Subject, VerificationError
from verification.randomness import current, generator, using
from verification.time_limit import DEFAULT, OutOfTime, interrupted, limited

if TYPE_CHECKING:  # known_failures imports Finding from here
    from verification.known_failures import KnownFailures

__all__ = [
    "CHECKS",
    "Check",
    "Evidence",
    "Finding",
    "VerificationError",
    "check",
    "generator",
    "load_checks",
    "run_checks",
    "select",
]

STATUSES = ("passed", "failed", "skipped", "known_failure", "unexpected_pass", "error")
TIERS = ("quick", "full")
QUICK_LEVEL = 3  # L0 tables, L1 maps, L2 identities, L3 identified samplers; above: statistics, training


LACKS, LACKS_TOO = "the subject has no ", " and no "  # why a check is skipped


@dataclass(frozen=True)
class Evidence:
    """One comparison: `observed` error against the `allowed` one, both in the units of the compared quantity.

    `where` is the place of the worst entry ("t=17"), `reason` says where the bound comes from and, on failure, which
    values differ; `diagnosis` names the wrong formula that the observed numbers follow, if one is known.
    """

    observed: float
    allowed: float
    where: str
    reason: str
    diagnosis: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within its bound; NaN is not."""
        return bool(self.observed <= self.allowed)

    @property
    def ratio(self) -> float:
        """`observed / allowed`: 0 for an exact hit, infinite when NaN was seen or nothing was allowed."""
        if self.observed == 0:
            return 0.0
        if math.isnan(self.observed) or not self.allowed > 0:
            return math.inf
        return self.observed / self.allowed


Run = Callable[[Subject], Iterator[Evidence]]


@dataclass(frozen=True)
class Check:
    """An obligation of every DDPM: its `claim` in one sentence and the `source` (paper and equation) of the claim.

    `needs` are the attributes and methods of the subject without which it is skipped. `level` is 0 tables, 1 maps,
    2 identities, 3 identified samplers and networks, 4 statistics, 5 training. `kills` are the mutants it must notice,
    `tolerance` the rule of `tolerance.py` and its reason.
    """

    id: str
    claim: str
    source: str
    needs: tuple[str, ...]
    run: Run
    level: int
    kills: tuple[str, ...]
    tolerance: str

    @property
    def obligation(self) -> str:
        """The catalogue's name: checks "NET-11.padding" and "NET-11.embedding" share the obligation "NET-11"."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Finding:
    """What became of one check on one subject. `observed`, `allowed` and `ratio` are None if nothing was compared.

    `seed` is that of the run, `reproduce` the command that shows the same again.
    """

    check: str
    status: str
    observed: float | None
    allowed: float | None
    ratio: float | None
    where: str
    reason: str
    diagnosis: str
    seed: int
    reproduce: str
    subject: str
    seconds: float


CHECKS: dict[str, Check] = {}


def check(
    id: str,  # noqa: A002 - the field's name in the record
    *,
    claim: str,
    source: str,
    needs: tuple[str, ...],
    level: int,
    kills: tuple[str, ...],
    tolerance: str,
) -> Callable[[Run], Run]:
    """Register a function `(subject) -> Iterator[Evidence]` as the check `id`; raises `ValueError` if `id` is taken."""

    def register(run: Run) -> Run:
        if id in CHECKS:
            raise ValueError(f"check {id!r} is defined twice: {CHECKS[id].run.__module__} and {run.__module__}")
        CHECKS[id] = Check(id, claim, source, needs, run, level, kills, tolerance)
        return run

    return register


def load_checks() -> dict[str, Check]:
    """Import every `verification.checks_*` module, and return the registry."""
    for module in sorted(pkgutil.iter_modules(verification.__path__), key=lambda found: found.name):
        if module.name.startswith("checks_"):
            importlib.import_module(f"verification.{module.name}")
    return CHECKS


def select(tier: str = "quick", only: str = "*") -> list[Check]:
    """The checks of a tier whose id or obligation matches the pattern `only` (`*`, `?`, `[...]`), by level.

    "quick" holds levels 0 to 3, "full" all; a check asked for by its very name is found in either. Nothing found is an
    empty list. Raises `VerificationError` on an unknown tier.
    """
    if tier not in TIERS:
        raise VerificationError(f"unknown tier {tier!r}: known are {' and '.join(TIERS)}")
    named = not set(only) & set("*?[")
    ordered = sorted(load_checks().values(), key=lambda each: each.level)
    return [each for each in ordered if (named or tier == "full" or each.level <= QUICK_LEVEL) and _matches(each, only)]


def _matches(each: Check, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name.upper(), pattern.upper()) for name in (each.id, each.obligation))


def run_checks(
    subject: Identity,
    checks: Iterable[Check] | None = None,
    *,
    known_failures: KnownFailures | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    spec: str = "",
    seed: int = 0,
    profile: str = "gate",
    limit: float | None = DEFAULT,
) -> list[Finding]:
    """Judge `subject` by `checks` (by default the quick tier): one finding a check, in order.

    All random inputs come from `seed`, 0 being the gate's, as `randomness.PROFILES[profile]` has it.
    `on_finding` is called with each as it is made, for a progress display. `spec` is what `--subject` takes to make
    this subject, and goes into the findings' `reproduce` lines. Known failures that match no check at all are findings
    too, at the end, and fail the run. A check that takes more than `limit` seconds ends as an error; None: no limit.
    """
    spec = spec or f"{type(subject).__module__}:{type(subject).__qualname__}"
    findings = []
    with using(seed, profile):
        for finding in _findings(select() if checks is None else checks, guarded(subject), spec, known_failures, limit):
            findings.append(finding)
            if on_finding:
                on_finding(finding)
    return findings


def _findings(
    checks: Iterable[Check], subject: Subject, spec: str, known: KnownFailures | None, limit: float | None
) -> Iterator[Finding]:
    for each in checks:
        finding = _finding(each, subject, spec, limit)
        yield known.judge(finding, subject) if known else finding
    if known:
        yield from known.unmatched(subject)


def _finding(each: Check, subject: Subject, spec: str, limit: float | None) -> Finding:
    start = time.perf_counter()
    found: list[Evidence] = []
    name = spec
    try:
        with limited(limit):
            name = _name(subject, spec)
            status, reason = _collect(each, subject, found)
    except OutOfTime as hang:
        status, reason = "error", f"{interrupted(hang)} had not returned after {limit:g} s, the limit of a check"
    blank = Finding(
        check=each.id,
        status=status,
        observed=None,
        allowed=None,
        ratio=None,
        where="",
        reason=reason,
        diagnosis="",
        seed=current().seed,
        reproduce=f"ddpm-bench verify --subject {shlex.quote(spec)} --only {shlex.quote(each.id)}{current().options}",
        subject=name,
        seconds=time.perf_counter() - start,
    )
    return _conclude(blank, found) if found else blank


def _name(subject: Subject, spec: str) -> str:
    try:
        return str(subject.name)
    except (Exception, SystemExit):  # noqa: BLE001 - a subject without a usable name is judged all the same
        return spec


def _missing(each: Check, subject: Subject) -> str:
    """Why the check cannot run on this subject, or nothing. None counts as missing: a schedule not declared."""
    missing = [name for name in each.needs if getattr(subject, name, None) is None]
    return LACKS + LACKS_TOO.join(missing) if missing else ""


def _collect(each: Check, subject: Subject, found: list[Evidence]) -> tuple[str, str]:
    """Append the check's evidence to `found`; return the status that it has without any, and the reason."""
    try:
        missing = _missing(each, subject)
        if missing:
            return "skipped", missing
        with np.errstate(all="ignore"):  # what overflows or divides by zero is judged by its result, not by a warning
            for evidence in each.run(subject):
                found.append(evidence)  # noqa: PERF402 - one by one: what came before an exception must stay
    except SubjectError as fault:
        found.append(Evidence(math.inf, 0.0, fault.method, str(fault)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a subject raises is a finding, not a crash
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = place.filename.rpartition("/")[2]
        return "error", f"raised {type(error).__name__}: {error} ({file}, line {place.lineno})"
    return "error", "" if found else "compared nothing"


def _conclude(blank: Finding, found: list[Evidence]) -> Finding:
    """Complete the finding: the worst evidence speaks, unless the check broke off before anything had failed."""
    failures = [evidence for evidence in found if not evidence.passed]
    if blank.reason and not failures:
        return blank
    worst = max(failures or found, key=lambda evidence: (bool(evidence.diagnosis), evidence.ratio))
    more = f"; {len(failures) - 1} more comparisons failed" if len(failures) > 1 else ""
    broke = f"; then {blank.reason}" if blank.reason else ""
    return replace(
        blank,
        status="failed" if failures else "passed",
        observed=float(worst.observed),
        allowed=float(worst.allowed),
        ratio=float(worst.ratio),
        where=worst.where,
        reason=worst.reason + more + broke,
        diagnosis=worst.diagnosis,
    )
