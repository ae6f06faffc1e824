"""What the verbs of the command line share: option types, lines to the person, and getting MindSpore ready."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

MODES = ("graph", "pynative")
DEVICES = ("CPU", "GPU", "Ascend")

File = click.Path(path_type=Path, dir_okay=False)
Folder = click.Path(path_type=Path, file_okay=False)


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
    """Import MindSpore for work on `device`, first avoiding the slow convolution where this machine has it.

    Raises `ConfigError` when MindSpore does not import or the device is not available.
    """
    from ddpm_bench import remedy

    told = remedy.apply(say)
    if told:
        say(f"note: {told}")
    from ddpm_bench.device import configure

    configure(device)
