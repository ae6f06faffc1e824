"""Evidence about a detail: it needs agreement and that a mistake would show, and leaves others' mistakes to others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from network_subjects import TINY, with_network

from verification.network_evidence import CLEAR, confirmed, distinguishable
from verification.network_trial import Trial, trial_of
from verification.network_truth import Truth
from verification.reference_network import ReferenceNetwork

TRIAL = trial_of(with_network(ReferenceNetwork(TINY)))


def wrong(check_id: str) -> Trial:
    """Outputs of a network that is wrong as the first known mistake of a check."""
    variant = next(each for each in TRIAL.truth.variants if each.check == check_id)
    return Trial(TRIAL.truth, TRIAL.truth.with_wrongs((variant,))[0])


def test_right_outputs_confirm_every_detail() -> None:
    for check_id in {variant.check for variant in TRIAL.truth.variants}:
        assert all(evidence.passed for evidence in confirmed(TRIAL, check_id))


def test_mistake_fails_its_own_check_and_leaves_the_others() -> None:
    trial = wrong("NET-11.divisor")
    assert not all(evidence.passed for evidence in confirmed(trial, "NET-11.divisor"))
    others = list(confirmed(trial, "NET-7"))
    assert all(evidence.passed for evidence in others)
    assert any("judged apart from this" in evidence.reason for evidence in others)


def test_unexplained_outputs_confirm_nothing() -> None:
    noise = np.random.default_rng(0).standard_normal(TRIAL.exact.shape)
    trial = Trial(TRIAL.truth, TRIAL.exact + noise)
    assert not any(evidence.passed for evidence in confirmed(trial, "NET-7") if "in units of" not in evidence.where)


def test_one_evidence_for_each_mistake_that_must_show() -> None:
    known = TRIAL.truth.variants
    demanded = [variant for variant in known if variant.check == "NET-11.norm_eps" and variant.visible]
    found = list(distinguishable(TRIAL, "NET-11.norm_eps"))
    assert len(found) == len(demanded) >= 2
    assert {evidence.observed for evidence in found} == {CLEAR}


def test_weights_that_hide_a_detail_fail_though_the_outputs_agree() -> None:
    hiding = {**TRIAL.truth.weights, "conv_out.weight": np.zeros_like(TRIAL.truth.weights["conv_out.weight"])}
    truth = Truth(TINY, hiding, "float64", TRIAL.images)
    found = list(confirmed(Trial(truth, truth.right[0]), "NET-7"))
    assert any(not evidence.passed for evidence in found)


def test_half_precision_is_asked_for_agreement_only() -> None:
    coarse = Trial(replace(TRIAL.truth, dtype="float16"), TRIAL.outputs)
    assert not list(distinguishable(coarse, "NET-11.norm_eps"))
    assert list(confirmed(coarse, "NET-11.norm_eps"))


def test_detail_that_an_architecture_lacks_is_confirmed_by_all_outputs() -> None:
    config = {**TINY, "time_embedding": "learned"}
    trial = trial_of(with_network(ReferenceNetwork(config)))
    assert len(list(confirmed(trial, "NET-11.divisor"))) == len(trial.images.x)
