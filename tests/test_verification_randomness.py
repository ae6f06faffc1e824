"""Seed 0 is the gate's and never changes; every other seed gives every check other numbers, which it gives again."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from verification.protocol import VerificationError
from verification.randomness import PROFILES, chosen, current, generator, seed_of, using


def test_gate_has_the_numbers_it_always_had() -> None:
    expected = np.random.default_rng(zlib.crc32(b"FWD-1")).normal(size=5)
    assert (generator("FWD-1").normal(size=5) == expected).all()
    with using(0):
        assert (generator("FWD-1").normal(size=5) == expected).all()


def test_seed_and_name_both_decide_and_nothing_else() -> None:
    drawn = {}
    for seed in (0, 1, 2**40):
        for name in ("A-1", "A-2"):
            with using(seed):
                drawn[seed, name] = generator(name).normal()
                assert generator(name).normal() == drawn[seed, name]
                assert 0 <= seed_of(name) < 2**32
    assert len(set(drawn.values())) == len(drawn)


def test_block_ends_with_what_was_before_even_after_an_error() -> None:
    with using(3, "nightly"):
        with pytest.raises(KeyError), using(4):
            raise KeyError
        assert (current().seed, current().profile.name) == (3, "nightly")
    assert (current().seed, current().profile.name) == (0, "gate")


def test_without_a_seed_the_gate_takes_0_and_a_nightly_run_a_fresh_one() -> None:
    assert chosen(None, "gate").seed == 0
    fresh = {chosen(None, "nightly").seed for _ in range(5)}
    assert len(fresh) == 5
    assert 0 not in fresh
    assert chosen(7, "nightly").seed == 7


def test_options_are_what_the_command_line_needs_to_do_it_again() -> None:
    assert chosen(0, "gate").options == ""
    assert chosen(5, "gate").options == " --seed 5"
    assert chosen(5, "nightly").options == " --seed 5 --profile nightly"
    assert chosen(0, "nightly").options == " --seed 0 --profile nightly", "which would take a fresh one"


@pytest.mark.parametrize(("seed", "profile", "said"), [(0, "weekly", "gate and nightly"), (-1, "gate", "-1")])
def test_mistake_is_a_sentence(seed: int, profile: str, said: str) -> None:
    with pytest.raises(VerificationError, match=said):
        chosen(seed, profile)


def test_nightly_explores_and_spends_more() -> None:
    gate, nightly = PROFILES["gate"], PROFILES["nightly"]
    assert (gate.explores, gate.examples_factor, gate.false_alarms) == (False, 1, 1e-6)
    assert (nightly.explores, nightly.false_alarms) == (True, 1e-4)
    assert nightly.examples_factor > 1
