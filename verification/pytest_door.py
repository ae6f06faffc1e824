"""The options of `pytest --pyargs verification`.

pytest reads options before it collects, and looks for a `conftest.py` in time only where an argument is a path. So that
the judge can be called by its package name from anywhere, this module is a pytest plugin (an entry point of the wheel).
It does nothing unless the judge is what pytest was asked to run: no other test run sees these options.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from verification.protocol import MODES, VerificationError
from verification.randomness import PROFILES, Randomness, chosen

DEFAULT_SUBJECT = "ddpm_bench.subject:MindSporeSubject"
DEFAULT_MODE = "graph"
DEFAULT_TIER = "quick"
DEFAULT_PROFILE = "gate"

_JUDGING = pytest.StashKey[bool]()
_CHOSEN = pytest.StashKey[Randomness]()
_TOLD = pytest.StashKey[bool]()


def add_options(parser: pytest.Parser) -> None:
    """Register `--subject`, `--mode`, `--tier`, `--seed` and `--profile`; a second time does nothing."""
    group = parser.getgroup("verification", "which DDPM is judged, and how thoroughly")
    with contextlib.suppress(ValueError):  # raised if they are there: `conftest.py` asks too, and either may come first
        group.addoption("--subject", default=DEFAULT_SUBJECT, metavar="module:factory", help="the DDPM to judge")
        group.addoption(
            "--mode", default=DEFAULT_MODE, choices=[*MODES, "both"], help="execution mode, if it has several"
        )
        group.addoption(
            "--tier", default=DEFAULT_TIER, choices=["quick", "full"], help="full adds statistics, training"
        )
        group.addoption(
            "--seed", type=int, help="of all random inputs of the checks: by default 0 in the gate, a fresh one nightly"
        )
        group.addoption(
            "--profile",
            default=DEFAULT_PROFILE,
            choices=list(PROFILES),
            help="nightly: more examples, kept in .hypothesis; a false alarm in 1e4 runs, not 1e6",
        )


def randomness_of(config: pytest.Config) -> Randomness:
    """What `--seed` and `--profile` ask for, once a run: a fresh seed is one for all checks.

    Raises `VerificationError` on a negative seed.
    """
    if _CHOSEN not in config.stash:
        seed = getattr(config, "workerinput", {}).get("verification_seed", config.getoption("--seed", None))
        # A plugin with an option of the same name may have come first; what it holds is none of our names.
        profile = str(config.getoption("--profile", DEFAULT_PROFILE) or DEFAULT_PROFILE)
        config.stash[_CHOSEN] = chosen(seed, profile)
    return config.stash[_CHOSEN]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker process of pytest-xdist the seed, which must be one for all; a bad one is told by collection."""
    if _JUDGING in node.config.stash:
        with contextlib.suppress(VerificationError):
            node.workerinput["verification_seed"] = randomness_of(node.config).seed


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The seed of a nightly run. Here and not in `conftest.py` alone, which pytest-xdist's controller never loads."""
    tell(terminalreporter, config)


def tell(terminalreporter: Any, config: pytest.Config) -> None:
    """Write, once, how to judge with the same random numbers again, where the judge ran with others than the gate's."""
    if _CHOSEN in config.stash and config.stash[_CHOSEN].options and _TOLD not in config.stash:
        config.stash[_TOLD] = True
        again = config.stash[_CHOSEN].options
        terminalreporter.write_line(f"verification: to judge with the same random numbers again, add{again}")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add the options if one of pytest's arguments is this package."""
    given = early_config.known_args_namespace
    if any(_is_the_judge(argument, pyargs=given.pyargs) for argument in given.file_or_dir):
        add_options(parser)
        early_config.stash[_JUDGING] = True


def _is_the_judge(argument: str, *, pyargs: bool) -> bool:
    name = argument.partition("::")[0]
    path, own = Path(name).resolve(), Path(__file__).resolve().parent
    return own in (path, *path.parents) or (pyargs and name in ("verification", "verification.test_subject"))
