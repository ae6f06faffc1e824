"""What was found, as JSON and JUnit for machines and in a sentence for people, and the exit code that says it.

The JSON record has `schema` 1, published as `schemas/verify.schema.json`:

    kind "verify", created (ISO 8601, UTC), environment (a flat mapping), tier,
    subjects  [{name, dtype, num_timesteps, variance, clip_x_0, and mode and parameterization if the subject has them}],
    checks    {id: {claim, source, level, tolerance}} of the checks that were run,
    findings  [the fields of `check.Finding`],
    slack     [{check, ratio, subjects}]: bounds of which no subject used a thousandth (`overview.py`).

It is strict JSON: numbers that are not finite are the strings "inf", "-inf" and "nan", and what was not compared is
null. Fields may be added under the same number: a reader passes over those that it does not know.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import os
import platform
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verification.check import CHECKS, STATUSES, Finding
from verification.known_failures import installed
from verification.overview import FAILING, slack
from verification.protocol import Identity, VerificationError

SCHEMA = 1
WARN_RATIO = 0.5  # a passed check that used more of its bound than this is worth a look
STATISTICS = 4  # but for this level of checks: the largest of many random numbers is normally near its bound
_IDENTITY = ("name", "dtype", "num_timesteps", "variance", "clip_x_0", "parameterization", "mode")


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if all is well, 1 if something failed, 3 if nothing was tested: an empty run is never a success."""
    statuses = {finding.status for finding in findings}
    if statuses & set(FAILING):
        return 1
    return 0 if statuses - {"skipped"} else 3


def record(
    findings: Sequence[Finding],
    subjects: Iterable[Identity],
    *,
    tier: str,
    environment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON record of a run. `environment` is by default that of this process, as far as the judge can see it."""
    return {
        "schema": SCHEMA,
        "kind": "verify",
        "created": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "environment": strict(dict(environment) if environment is not None else own_environment()),
        "tier": tier,
        "subjects": [strict(identity(subject)) for subject in subjects],
        "checks": {check: _about(check) for check in dict.fromkeys(f.check for f in findings) if check in CHECKS},
        "findings": [strict(dataclasses.asdict(finding)) for finding in findings],
        "slack": [strict(dataclasses.asdict(each)) for each in slack(findings)],
    }


def _about(check: str) -> dict[str, str | int]:
    known = CHECKS[check]
    return {"claim": known.claim, "source": known.source, "level": known.level, "tolerance": known.tolerance}


def identity(subject: Identity) -> dict[str, Any]:
    """The subject's name and choices, as far as it states them."""
    return {name: getattr(subject, name) for name in _IDENTITY if hasattr(subject, name)}


def own_environment() -> dict[str, str]:
    """Python, machine, and the versions of what the judge computes with and of MindSpore, none of them imported."""
    versions = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    return versions | {package: installed(package) or "absent" for package in ("numpy", "scipy", "mpmath", "mindspore")}


def strict(value: Any) -> Any:
    """`value` in types that JSON has; see the module for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def write_json(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON, whole or not at all."""
    _write(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_junit(path: str | Path, findings: Sequence[Finding]) -> None:
    """Write JUnit XML, one test case a finding, so that a CI page shows each claim with its verdict."""
    suite = ET.Element("testsuite", name="ddpm-bench verify", tests=str(len(findings)))
    counts = Counter(finding.status for finding in findings)
    suite.set("failures", str(counts["failed"] + counts["unexpected_pass"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"] + counts["known_failure"]))
    suite.set("time", f"{sum(finding.seconds for finding in findings):.3f}")
    suite.extend(_case(finding) for finding in findings)
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    _write(path, ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n")


def _case(finding: Finding) -> ET.Element:
    name = f"{finding.check} {CHECKS[finding.check].claim}" if finding.check in CHECKS else finding.check
    case = ET.Element("testcase", classname=_printable(finding.subject), name=_printable(name))
    case.set("time", f"{finding.seconds:.3f}")
    tags = {"failed": "failure", "unexpected_pass": "failure", "error": "error"}
    tags |= {"skipped": "skipped", "known_failure": "skipped"}
    if finding.status in tags:
        outcome = ET.SubElement(case, tags[finding.status], message=_printable(sentence(finding)))
        outcome.text = _printable(f"{finding.reproduce}\n# seed of the random inputs: {finding.seed}")
    return case


def _printable(text: str) -> str:
    """`text` without the control characters that XML 1.0 forbids even when escaped."""
    return "".join(
        c for c in text if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c < "\ue000")
    )


def sentence(finding: Finding) -> str:
    """The finding in one line: where, how far off, why that much is allowed, and what it looks like."""
    parts = [finding.where, ratio_text(finding), finding.reason, finding.diagnosis]
    return " ".join("; ".join(part for part in parts if part).split())


def ratio_text(finding: Finding) -> str:
    """The share of its bound that the error used, with a warning above one half; nothing if nothing was compared."""
    if finding.ratio is None or finding.observed is None or finding.allowed is None:
        return ""
    text = f"error {finding.observed:.3g}, allowed {finding.allowed:.3g}, ratio {finding.ratio:.3g}"
    random = finding.check in CHECKS and CHECKS[finding.check].level == STATISTICS
    close = finding.status == "passed" and finding.ratio > WARN_RATIO and not random
    return f"{text} (warn: above {WARN_RATIO})" if close else text


def summary(findings: Sequence[Finding]) -> str:
    """How many of each status, such as "41 passed, 1 failed"."""
    counts = Counter(finding.status for finding in findings)
    return (
        ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in STATUSES if counts[status]) or "no check"
    )


def _write(path: str | Path, text: str) -> None:
    """Write beside the target and rename, so that a reader never meets half a file. Raises `VerificationError`."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        raise VerificationError(f"{str(target)!r} cannot be written: {error.strerror}; choose another place") from None
