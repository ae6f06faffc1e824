"""Errors a person can act on: each is one sentence saying what was given, what was expected and what to do.

The library raises them; the command line prints the sentence on stderr and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DdpmBenchError(Exception):
    """Base of every error that is the input's fault and not this program's."""


class ConfigError(DdpmBenchError):
    """A name, value, file or option that cannot be used."""


class ShapeError(DdpmBenchError):
    """An array whose shape or dtype does not fit what the equation needs."""


def unknown_name(kind: str, given: object, known: Iterable[str]) -> ConfigError:
    """The error for a `given` name of some `kind` that is none of the `known`, offering the nearest."""
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return ConfigError(f"unknown {kind} {str(given)!r}: {hint}known are {', '.join(names)}")
