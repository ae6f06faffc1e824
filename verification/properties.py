"""Claims about every example of a kind, tried by Hypothesis on examples it chooses and then makes small.

A check asks `hold_for_all` for evidence over a strategy. Hypothesis is used as an engine, not as a test runner: its
examples are the same on every run, it keeps no database, and no example is too slow. What comes back is the worst
example seen, or, when the claim is false, the smallest example that breaks it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.strategies import SearchStrategy

from verification.check import Evidence

Example = TypeVar("Example")


class _FalsifiedError(Exception):
    """Tells Hypothesis that an example breaks the claim."""


def hold_for_all(strategy: SearchStrategy[Example], claim: Callable[[Example], Evidence], *, examples: int) -> Evidence:
    """Evidence for `claim` over `examples` examples of `strategy`: the worst one, or the smallest that fails.

    Raises what `claim` raises; an unsteady claim, failing once and holding the next time, raises Hypothesis's `Flaky`.
    """
    seen: list[tuple[Example, Evidence]] = []

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(strategy)
    def every_example(example: Example) -> None:
        evidence = claim(example)
        seen.append((example, evidence))
        if not evidence.passed:
            raise _FalsifiedError

    with _scratch_storage():
        try:
            every_example()
        except _FalsifiedError:
            smallest, evidence = seen[-1]  # Hypothesis ends by replaying the smallest
            return replace(evidence, reason=f"smallest example {smallest!r}: {evidence.reason}")
    return max((evidence for _, evidence in seen), key=lambda evidence: evidence.ratio)


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
