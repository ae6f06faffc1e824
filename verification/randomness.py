"""Where the judge's random inputs come from: the seed of the run and the name of the check, and nothing else.

A run has a seed. Seed 0 is the gate's: its numbers never change, so a pass can be had again. Every other seed gives
every check other numbers; a nightly run takes a fresh one and prints it. With the seed goes a profile:

| profile | false alarms a run | Hypothesis |
|---|---|---|
| gate | 1e-6 | the same examples every time, no database |
| nightly | 1e-4 | random examples from the seed, ten times as many, failures kept in `.hypothesis/examples` |

Both are the setting of a block, `with using(seed=7, profile="nightly"): ...`, and `run_checks` is such a block.
"""

from __future__ import annotations

import functools
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from verification.protocol import VerificationError

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Profile:
    """How a kind of run treats chance: see the table of the module."""

    name: str
    false_alarms: float
    examples_factor: int
    explores: bool


PROFILES = {
    "gate": Profile("gate", false_alarms=1e-6, examples_factor=1, explores=False),
    "nightly": Profile("nightly", false_alarms=1e-4, examples_factor=10, explores=True),
}


@dataclass(frozen=True)
class Randomness:
    """The `seed` and the `profile` of a run."""

    seed: int = 0
    profile: Profile = PROFILES["gate"]

    @property
    def options(self) -> str:
        """What the command line takes to have this again: nothing for the gate's own."""
        seed = f" --seed {self.seed}" if self.seed or self.profile.explores else ""
        return seed + (f" --profile {self.profile.name}" if self.profile != PROFILES["gate"] else "")


_now: ContextVar[Randomness | None] = ContextVar("randomness", default=None)
_gate = Randomness()


def current() -> Randomness:
    """That of the run in which the caller is; outside of any, the gate's."""
    return _now.get() or _gate


def chosen(seed: int | None, profile: str) -> Randomness:
    """What `--seed` and `--profile` ask for; without a seed the gate has 0, and an exploring profile a fresh one.

    Raises `VerificationError` for an unknown profile and a negative seed.
    """
    if profile not in PROFILES:
        raise VerificationError(f"unknown profile {profile!r}: known are {' and '.join(PROFILES)}")
    if seed is None:
        seed = secrets.randbelow(2**31 - 1) + 1 if PROFILES[profile].explores else 0
    if seed < 0:
        raise VerificationError(f"the seed is {seed}: give 0, which is the gate's, or a larger whole number")
    return Randomness(seed, PROFILES[profile])


@contextmanager
def using(seed: int = 0, profile: str = "gate") -> Iterator[Randomness]:
    """Inside the block, all random inputs come from `seed`."""
    randomness = chosen(seed, profile)
    token = _now.set(randomness)
    try:
        yield randomness
    finally:
        _now.reset(token)


def cached_per_seed(maxsize: int) -> Callable[[Function], Function]:
    """`functools.lru_cache` for a function of `generator`'s numbers: a run with another seed computes anew."""

    def decorate(function: Function) -> Function:
        @functools.lru_cache(maxsize=maxsize)
        def computed(_: int, *args: Any) -> Any:
            return function(*args)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return computed(current().seed, *args)

        return cast("Function", call)

    return decorate


def seed_of(name: str) -> int:
    """The seed, below 2^32, of the random inputs called `name`, such as a check's id, in the current run.

    Its own for each name, so that checks do not share their numbers.
    """
    own, seed = zlib.crc32(name.encode()), current().seed
    return int(np.random.SeedSequence([seed, own]).generate_state(1)[0]) if seed else own


def generator(name: str) -> np.random.Generator:
    """A fresh generator for the random inputs called `name`, the same whenever a run has this seed."""
    return np.random.default_rng(seed_of(name))
