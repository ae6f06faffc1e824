"""The options of `pytest --pyargs verification`.

pytest reads options before it collects, and looks for a `conftest.py` in time only where an argument is a path. So that
the judge can be called by its package name from anywhere, this module is a pytest plugin (an entry point of the wheel).
It does nothing unless the judge is what pytest was asked to run: no other test run sees these options.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from verification.protocol import MODES

DEFAULT_SUBJECT = "ddpm_bench.subject:MindSporeSubject"
DEFAULT_MODE = "graph"
DEFAULT_TIER = "quick"


def add_options(parser: pytest.Parser) -> None:
    """Register `--subject`, `--mode` and `--tier`; a second time does nothing."""
    group = parser.getgroup("verification", "which DDPM is judged, and how thoroughly")
    with contextlib.suppress(ValueError):  # raised if they are there: `conftest.py` asks too, and either may come first
        group.addoption("--subject", default=DEFAULT_SUBJECT, metavar="module:factory", help="the DDPM to judge")
        group.addoption(
            "--mode", default=DEFAULT_MODE, choices=[*MODES, "both"], help="execution mode, if it has several"
        )
        group.addoption(
            "--tier", default=DEFAULT_TIER, choices=["quick", "full"], help="full adds statistics, training"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add the options if one of pytest's arguments is this package."""
    given = early_config.known_args_namespace
    if any(_is_the_judge(argument, pyargs=given.pyargs) for argument in given.file_or_dir):
        add_options(parser)


def _is_the_judge(argument: str, *, pyargs: bool) -> bool:
    name = argument.partition("::")[0]
    path, own = Path(name).resolve(), Path(__file__).resolve().parent
    return own in (path, *path.parents) or (pyargs and name in ("verification", "verification.test_subject"))
