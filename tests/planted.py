"""Two planted mistakes and a source that does not import, for tests of the self-test."""

from __future__ import annotations

from verification.mutants import Mutant
from verification.protocol import Array
from verification.reference import ReferenceSubject


class Halved(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, t, eps) / 2


def load_mutants() -> dict[str, Mutant]:
    return {
        "T1": Mutant("T1", "q_sample is halved", ("FWD-1",), Halved, {"num_timesteps": 5}),
        "T2": Mutant("T2", "nothing is wrong", ("FWD-3",), ReferenceSubject, {"num_timesteps": 5}),
    }
