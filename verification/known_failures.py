"""Failures that are known and accepted, with the reason, until the day they stop failing.

A TOML file, one table a check, its id in quotes if it holds a dot:

    [NET-9]
    reason = "the sine kernel of this build is off by 3 units in the last place, issue 123"
    mindspore = ">=2.9,<2.11"     # optional: the releases concerned
    device = "CPU"                # optional: the device concerned

The list cannot rot: an entry whose check passes, and one that matches no check, are findings that fail the run.
"""

from __future__ import annotations

import importlib.metadata
import operator
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verification.check import CHECKS, Finding
from verification.protocol import Identity, VerificationError
from verification.randomness import current

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
_CLAUSE = re.compile(r"\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)*)\s*")


@dataclass(frozen=True)
class KnownFailure:
    """Why a check may fail, and where: an empty `mindspore` range or `device` means everywhere."""

    reason: str
    mindspore: str = ""
    device: str = ""

    def applies(self, *, mindspore: str, device: str) -> bool:
        """Whether it concerns this release ("" if MindSpore is not installed) and this device."""
        return in_range(mindspore, self.mindspore) and self.device in ("", device)


@dataclass(frozen=True)
class KnownFailures:
    """The entries by check id, and the `file` they are from, for the findings' `reproduce` lines."""

    entries: Mapping[str, KnownFailure]
    file: str = ""

    def judge(self, finding: Finding, subject: Identity) -> Finding:
        """The finding with its status changed if an entry concerns it."""
        entry = self.entries.get(finding.check)
        device = str(getattr(subject, "device", "CPU"))
        if entry is None or not entry.applies(mindspore=installed("mindspore"), device=device):
            return finding
        if self.file:
            finding = replace(finding, reproduce=f"{finding.reproduce} --known-failures {shlex.quote(self.file)}")
        if finding.status == "failed":
            return replace(finding, status="known_failure", reason=f"known: {entry.reason}; {finding.reason}")
        if finding.status == "passed":
            remedy = f"passes, but is listed as a known failure ({entry.reason}): remove the entry"
            return replace(finding, status="unexpected_pass", reason=remedy)
        return finding

    def unmatched(self, subject: Identity) -> Iterator[Finding]:
        """A failing finding for each entry whose id is no check's."""
        for check_id in self.entries:
            if check_id not in CHECKS:
                yield Finding(
                    check=check_id,
                    status="unexpected_pass",
                    observed=None,
                    allowed=None,
                    ratio=None,
                    where="known failures",
                    reason=f"the list of known failures names {check_id!r}, which is no check: remove the entry",
                    diagnosis="",
                    seed=current().seed,
                    reproduce="ddpm-bench verify --list",
                    subject=str(getattr(subject, "name", "")),
                    seconds=0.0,
                )


def load_known_failures(path: str | Path) -> KnownFailures:
    """Read the file; raises `VerificationError` if it is not there, not TOML, or not of the form above."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise VerificationError(f"--known-failures {str(path)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise VerificationError(f"--known-failures {str(path)!r} is not TOML: {error}") from None
    entries = {check_id: _entry(path, check_id, fields) for check_id, fields in document.items()}
    return KnownFailures(entries, str(path))


def _entry(path: str | Path, check_id: str, fields: Any) -> KnownFailure:
    where = f"--known-failures {str(path)!r}, entry {check_id!r}"
    if not isinstance(fields, dict) or not fields.get("reason"):
        nested = isinstance(fields, dict) and any(isinstance(value, dict) for value in fields.values())
        hint = 'put an id with a dot in quotes, ["NET-11.padding"]' if nested else 'write reason = "..."'
        raise VerificationError(f"{where} gives no reason: {hint}")
    unknown = set(fields) - {"reason", "mindspore", "device"}
    if unknown or not all(isinstance(value, str) for value in fields.values()):
        raise VerificationError(
            f"{where} must have text for reason, mindspore and device only; it has {sorted(fields)}"
        )
    for clause in filter(None, fields.get("mindspore", "").split(",")):
        if not _CLAUSE.fullmatch(clause):
            raise VerificationError(f"{where}: {clause!r} is no version range; write for instance '>=2.9,<2.11'")
    return KnownFailure(**fields)


def in_range(version: str, bounds: str) -> bool:
    """Whether `version` ("2.9.0") satisfies every clause of `bounds` (">=2.9,<2.11"); no version satisfies none."""
    for clause in filter(None, bounds.split(",")):
        match = _CLAUSE.fullmatch(clause)
        if not version or match is None or not _COMPARE[match[1]](_release(version), _release(match[2])):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """(2, 7, 1) of "2.7.1.post1"; zeros at the end do not count, so that 2.9 is 2.9.0."""
    numbers = re.match(r"[\d.]*\d", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def installed(package: str) -> str:
    """The installed release of a package, read without importing it; "" if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
