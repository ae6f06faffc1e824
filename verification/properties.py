"""Claims about every example of a kind, tried by Hypothesis on examples it chooses and then makes small.

A check asks `hold_for_all` for evidence over a strategy. Hypothesis is used as an engine, not as a test runner: no
example is too slow, and in the gate's profile the examples are the same on every run and nothing is kept. The nightly
profile explores: its examples follow from the seed of the run, there are many more of them, and what failed is kept
below `.hypothesis/examples` in the current folder and tried first the next time. What comes back is the worst example
seen, or, when the claim is false, the smallest example that breaks it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.strategies import SearchStrategy

from verification.check import Evidence
from verification.randomness import current, seed_of

Example = TypeVar("Example")

KEPT = Path(".hypothesis") / "examples"
"""Where an exploring profile keeps the examples that failed: Hypothesis's own custom."""


class _FalsifiedError(Exception):
    """Tells Hypothesis that an example breaks the claim."""


def hold_for_all(strategy: SearchStrategy[Example], claim: Callable[[Example], Evidence], *, examples: int) -> Evidence:
    """Evidence for `claim` over `examples` examples of `strategy`: the worst one, or the smallest that fails.

    The nightly profile takes ten times as many. Raises what `claim` raises; an unsteady claim, failing once and holding
    the next time, raises Hypothesis's `Flaky`.
    """
    seen: list[tuple[Example, Evidence]] = []

    @given(strategy)
    def every_example(example: Example) -> None:
        evidence = claim(example)
        seen.append((example, evidence))
        if not evidence.passed:
            raise _FalsifiedError

    with _scratch_storage():
        try:
            _in_profile(every_example, _name(claim), examples)()
        except _FalsifiedError:
            smallest, evidence = seen[-1]  # Hypothesis ends by replaying the smallest
            return replace(evidence, reason=f"smallest example {smallest!r}: {evidence.reason}")
    return max((evidence for _, evidence in seen), key=lambda evidence: evidence.ratio)


def _in_profile(test: Callable[[], None], name: str, examples: int) -> Callable[[], None]:
    """A Hypothesis test that runs as the profile of the run has it; failures are kept by the `name` of the claim."""
    profile = current().profile
    configured = settings(
        derandomize=not profile.explores,
        database=DirectoryBasedExampleDatabase(KEPT / name) if profile.explores else None,
        deadline=None,
        max_examples=examples * profile.examples_factor,
        phases=(*[Phase.reuse] * profile.explores, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    # In this order: Hypothesis's seed forgets the database, and a database given after it is kept.
    return configured(seed(seed_of(name))(test) if profile.explores else test)


def _name(claim: Callable[..., object]) -> str:
    """What a claim is called, whether it is a function or a partial of one."""
    function: Any = getattr(claim, "func", claim)
    return f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")


@contextmanager
def _scratch_storage() -> Iterator[None]:
    """A storage directory that is thrown away: even without a database Hypothesis writes a cache to ./.hypothesis."""
    before: Any = storage_directory(intent_to_write=False)
    with tempfile.TemporaryDirectory(prefix="hypothesis-") as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            # A Path until Hypothesis 6.150 or so, an object that has one since.
            set_hypothesis_home_dir(getattr(before, "path", before))
