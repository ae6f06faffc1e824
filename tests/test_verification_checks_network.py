"""The checks of the network: right ones pass in every architecture, each wrong one fails the check that is for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from network_subjects import TINY, SingleNetwork, with_network

from verification.check import CHECKS, Finding, run_checks, select
from verification.network_mutants import NETWORK_MUTANTS, NetworkMutant
from verification.reference_network import ReferenceNetwork
from verification.report import sentence

NETWORK = [check for check in select("full") if check.id.startswith("NET-") or check.id == "GRD-2"]
MUTANTS = {mutant.id: mutant for mutant in NETWORK_MUTANTS}
PROMISED = [(check.id, kill) for check in NETWORK for kill in check.kills if kill in MUTANTS]
PARTICULAR = {"NET-2", "NET-4", "NET-7", "NET-9"} | {check.id for check in NETWORK if check.id.startswith("NET-11.")}
EXPLAINED = [m for m in NETWORK_MUTANTS if m.killed_by in PARTICULAR - {"NET-11.zero_init"} and m.id != "N20"]


@cache
def findings(mutant: str) -> dict[str, Finding]:
    """All findings on a network mutant, by check."""
    return {found.check: found for found in run_checks(with_network(MUTANTS[mutant].make(TINY)), NETWORK)}


@pytest.mark.parametrize("mutant", NETWORK_MUTANTS, ids=lambda mutant: f"{mutant.id} {mutant.sentence}")
def test_wrong_network_fails_the_check_that_is_for_it(mutant: NetworkMutant) -> None:
    found = findings(mutant.id)[mutant.killed_by]
    assert found.status == "failed", sentence(found)
    assert mutant.id in CHECKS[mutant.killed_by].kills


@pytest.mark.parametrize(("check_id", "mutant"), PROMISED)
def test_check_kills_every_network_mutant_it_names(check_id: str, mutant: str) -> None:
    assert findings(mutant)[check_id].status == "failed", sentence(findings(mutant)[check_id])


@pytest.mark.parametrize("mutant", EXPLAINED, ids=lambda mutant: f"{mutant.id} {mutant.sentence}")
def test_known_mistake_fails_no_other_particular_check_and_is_named(mutant: NetworkMutant) -> None:
    failed = {name for name, found in findings(mutant.id).items() if found.status != "passed"} & PARTICULAR
    assert failed == {mutant.killed_by}
    assert "the outputs equal" in findings(mutant.id)["NET-8"].diagnosis


def test_two_mistakes_fail_both_their_checks_and_are_named_together() -> None:
    found = findings("N20")
    assert {found["NET-11.norm_eps"].status, found["NET-11.padding"].status} == {"failed"}
    assert found["NET-11.divisor"].status == found["NET-7"].status == "passed"
    assert "1e-5" in found["NET-8"].diagnosis
    assert "pad on all sides" in found["NET-8"].diagnosis


@pytest.mark.parametrize(
    ("changes", "choices"),
    [
        ({}, {}),
        ({}, {"dtype": "float32"}),
        ({}, {"num_timesteps": 1}),
        ({}, {"num_timesteps": 2}),
        ({"time_embedding": "learned", "downsample": "max_pool", "upsample": "transposed", "in_channels": 1}, {}),
        ({"channel_mult": (1, 2, 2), "attention_at": (), "num_heads": 1, "blocks_per_level": 2}, {}),
        ({"groups": 8, "num_heads": 1}, {}),
    ],
    ids=str,
)
def test_right_network_passes_in_every_architecture(changes: dict[str, Any], choices: dict[str, Any]) -> None:
    network = ReferenceNetwork({**TINY, **changes}, dtype=choices.get("dtype", "float64"))
    found = run_checks(with_network(network, **choices), NETWORK)
    assert not [f"{f.check} {f.status}: {sentence(f)}" for f in found if f.status != "passed"]


@pytest.mark.parametrize("seed", range(5))
def test_right_network_with_float32s_own_choices_passes(seed: int) -> None:
    found = run_checks(with_network(SingleNetwork({**TINY, "base_channels": 16}, seed), dtype="float32"), NETWORK)
    assert not [f"{f.check} {f.status}: {sentence(f)}" for f in found if f.status not in ("passed", "skipped")]


def test_network_about_to_be_trained_has_not_been_shown_right() -> None:
    """Its output is zero whatever its blocks do."""
    network = ReferenceNetwork(TINY, weights=ReferenceNetwork(TINY).initial_weights())
    found = {each.check: each.status for each in run_checks(with_network(network), NETWORK)}
    assert "failed" in {found[name] for name in ("NET-2", "NET-3", "NET-7", "NET-8", "NET-11.padding")}
    assert "passed" not in {found[name] for name in ("NET-2", "NET-3", "NET-7", "NET-8", "NET-11.padding")}


def test_learned_table_shorter_than_the_process_fails() -> None:
    network = ReferenceNetwork({**TINY, "time_embedding": "learned", "num_timesteps": 10})
    (found,) = run_checks(with_network(network, num_timesteps=10), select("full", "NET-9"))
    assert found.status == "passed"
    (found,) = run_checks(with_network(network, num_timesteps=11), select("full", "NET-9"))
    assert found.status in ("failed", "error")


def test_network_may_refuse_another_size_but_not_its_own() -> None:
    class Strict(ReferenceNetwork):
        def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
            if x.shape[2:] != (8, 8):
                raise ValueError(f"images are 8x8, not {x.shape[2:]}")
            return super().__call__(x, t)

        forward = __call__

    class Broken(ReferenceNetwork):
        def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
            raise ValueError("no")

        forward = __call__

    assert [run_checks(with_network(net(TINY)), select("full", "NET-1"))[0].status for net in (Strict, Broken)] == [
        "passed",
        "failed",
    ]


def test_not_a_number_in_one_pixel_fails_what_looks_at_it() -> None:
    class Spotted(ReferenceNetwork):
        def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
            right = super().__call__(x, t)
            right[0, 0, 0, 0] = np.nan
            return right

        forward = __call__

    found = {each.check: each.status for each in run_checks(with_network(Spotted(TINY)), NETWORK)}
    assert found["NET-1"] == found["NET-8"] == found["NET-5"] == "failed"
