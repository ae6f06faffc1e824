"""What the verbs of the command line share: option types, lines to the person, and getting MindSpore ready."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ddpm_bench.errors import ConfigError

MODES = ("graph", "pynative")
DEVICES = ("CPU", "GPU", "Ascend")

File = click.Path(path_type=Path, dir_okay=False)
Folder = click.Path(path_type=Path, file_okay=False)

PROFILES = ("gate", "nightly")

mode_option = click.option(
    "--mode", type=click.Choice([*MODES, "both"]), default="both", help="How MindSpore runs the code."
)


def modes_of(choice: str) -> tuple[str, ...]:
    """The execution modes that `--mode` names."""
    return MODES if choice == "both" else (choice,)


def chance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--seed` and `--profile`, which say what the judge's random inputs are and what they may cost."""
    seed = click.option(
        "--seed",
        type=click.IntRange(0),
        help="All random inputs of the checks follow from it. [default: 0 in the gate, a fresh one nightly]",
    )
    profile = click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default="gate",
        help="nightly: ten times the examples, kept in .hypothesis, and a false alarm in 1e4 runs, not 1e6.",
    )
    return seed(profile(command))


def say(text: str) -> None:
    """A line about what is going on, on stderr so that output can be piped."""
    print(text, file=sys.stderr, flush=True)


def tinted(text: str, colour: str) -> str:
    """`text` in a `colour` of click's where standard output is a terminal that shows it and NO_COLOR is not set."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour)


def complain(sentence: str, code: int) -> int:
    """Print `sentence` on stderr as this program's, and return `code`."""
    say(f"ddpm-bench: {' '.join(sentence.split())}")
    return code


def prepare(device: str = "CPU") -> None:
    """Import MindSpore for work on `device`, first choosing what is fast on this machine's CPU.

    Raises `ConfigError` when MindSpore does not import or the device is not available.
    """
    from ddpm_bench import operators, remedy

    for choice in (remedy, operators) if device == "CPU" else (remedy,):
        told = choice.apply(say)
        if told:
            say(f"note: {told}")
    from ddpm_bench.device import configure

    configure(device)


def rooms_stand_together() -> None:
    """Raise `ConfigError` unless judge and clock would come from beside this package and not from somewhere else."""
    here = Path(__file__).resolve().parent.parent
    for room in ("verification", "benchmarks"):
        spec = importlib.util.find_spec(room)
        found = Path(str(spec.origin)).resolve().parent.parent if spec and spec.origin else None
        if found != here:
            raise ConfigError(
                f"the package `{room}` would come from {found} and not from {here}, where ddpm-bench is installed: "
                f"another package of that name is in the way; use an environment of its own"
            )


@contextlib.contextmanager
def sentences_of(*errors: type[Exception]) -> Iterator[None]:
    """Errors of the judge's and the clock's own kind, inside the block, become this program's."""
    try:
        yield
    except errors as error:
        raise ConfigError(str(error)) from None


def refuse_all_but(*allowed: str, because: str) -> None:
    """Raise `UsageError` if the running command was given an option, by the name of its parameter, other than these."""
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if given and option.name not in allowed:
            raise click.UsageError(f"{because}: leave out {option.opts[0]}", ctx=context)
