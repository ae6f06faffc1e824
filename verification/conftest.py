"""Every check as a pytest test, for the subject that `--subject` names: `pytest --pyargs verification`."""

from __future__ import annotations

from typing import Any

import pytest

from verification.check import Check, select
from verification.plan import plan
from verification.protocol import Subject, SubjectSpec, VerificationError, gate_specs
from verification.pytest_door import DEFAULT_MODE, DEFAULT_SUBJECT, DEFAULT_TIER, add_options, randomness_of, tell
from verification.randomness import Randomness


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, where the plugin `pytest_door` is not installed as one: a source tree on the path."""
    add_options(parser)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The seed of a nightly run, where the plugin is not there to tell it."""
    tell(terminalreporter, config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a subject and check; a subject that cannot be had ends the run with a sentence and exit code 2."""
    if "check" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    try:
        randomness_of(metafunc.config)
        specs = gate_specs(option("--subject", DEFAULT_SUBJECT), mode=option("--mode", DEFAULT_MODE))
        planned = plan(specs, select(option("--tier", DEFAULT_TIER)))
    except VerificationError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    pairs = [pytest.param(spec, check, id=_name(check, spec)) for spec, checks in planned for check in checks]
    metafunc.parametrize(("spec", "check"), pairs)


def _name(check: Check, spec: SubjectSpec) -> str:
    """The check's id, and the subject's options if it has any."""
    return f"{check.id}-{spec.label}" if spec.options else check.id


@pytest.fixture(scope="session")
def chance(pytestconfig: pytest.Config) -> Randomness:
    """The seed and the profile of the run."""
    return randomness_of(pytestconfig)


@pytest.fixture(scope="session")
def subjects() -> dict[str, Subject]:
    """The subjects made so far, by their spec's text: each is made once, when its first check needs it."""
    return {}


@pytest.fixture
def subject(spec: SubjectSpec, subjects: dict[str, Subject]) -> Subject:
    """The subject that the test judges."""
    if spec.text not in subjects:
        subjects[spec.text] = spec.make()
    return subjects[spec.text]
