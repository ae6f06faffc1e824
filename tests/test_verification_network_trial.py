"""The trial of a network: what is wrong is named, alone or in twos, and nothing is named that is not there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from network_subjects import TINY, with_network

from verification.network_layout import Architecture
from verification.network_trial import BRIGHT, Trial, config_of, time_trial_of, trial_of
from verification.network_truth import SHOWN, Truth
from verification.network_variants import VARIANTS, Variant, applicable
from verification.oracle_network import predict
from verification.reference_network import ReferenceNetwork

VARIED = {
    "sinusoidal": TINY,
    "learned": {**TINY, "time_embedding": "learned", "downsample": "max_pool", "upsample": "transposed"},
}
NAMED = [(kind, v) for kind, config in VARIED.items() for v in applicable(Architecture.parse(config))]


@cache
def truth(kind: str) -> Truth:
    return trial_of(with_network(ReferenceNetwork(VARIED[kind], dtype="float32"), dtype="float32")).truth


@pytest.mark.parametrize(("kind", "variant"), NAMED, ids=lambda each: getattr(each, "sentence", each))
def test_known_wrong_network_is_named(kind: str, variant: Variant) -> None:
    known = truth(kind)
    wrong = predict(known.config, known.weights, known.images.x, known.images.t, details=variant.details)
    explanation = Trial(known, wrong.astype(np.float32)).explanation
    if variant.visible:
        assert explanation
        assert explanation.variants == (variant,)
        assert variant.sentence in explanation.sentence


def test_every_variant_is_met_in_one_of_these_networks() -> None:
    assert {variant for _, variant in NAMED} >= {
        variant for variant in VARIANTS if "heads of 8" not in variant.sentence
    }


def test_two_wrongs_at_once_are_both_named() -> None:
    known = truth("sinusoidal")
    both = tuple(v for v in known.variants if v.details.norm_eps == 1e-5 or v.details.stride_padding == "symmetric")
    outputs, _ = known.with_wrongs(both)
    explanation = Trial(known, outputs).explanation
    assert explanation
    assert set(explanation.variants) == set(both)


def test_right_network_needs_no_explanation() -> None:
    known = truth("sinusoidal")
    assert Trial(known, known.right[0]).explanation is None


@pytest.mark.parametrize("outputs", ["noise", "not a number", "another shape"])
def test_nothing_is_made_up_for_what_is_not_known(outputs: str) -> None:
    known = truth("sinusoidal")
    made = {
        "noise": known.right[0] + np.random.default_rng(0).standard_normal(known.right[0].shape),
        "not a number": np.full(known.right[0].shape, np.nan),
        "another shape": known.right[0][1:],
    }[outputs]
    assert Trial(known, made).explanation is None


def test_truth_is_shared_by_subjects_with_one_network_and_by_no_others() -> None:
    first, same, other = (with_network(ReferenceNetwork(TINY, seed=seed)) for seed in (0, 0, 1))
    assert trial_of(first).truth is trial_of(same).truth
    assert trial_of(first).truth is not trial_of(other).truth


def test_network_is_called_once_for_all_checks() -> None:
    calls = []

    class Counted(ReferenceNetwork):
        def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
            calls.append(len(x))
            return super().__call__(x, t)

        forward = __call__

    subject = with_network(Counted(TINY))
    assert trial_of(subject) is trial_of(subject)
    time_trial_of(subject)
    assert calls == [16, 16]


@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_images_stay_inside_the_time_range(steps: int) -> None:
    subject = with_network(ReferenceNetwork(TINY), num_timesteps=steps)
    for trial in (trial_of(subject), time_trial_of(subject)):
        assert trial.images.t.min() == 0
        assert trial.images.t.max() == steps - 1
        assert len(trial.images.names) == len(trial.images.x) == len(trial.images.t)


def test_bright_pixels_stand_where_their_names_say() -> None:
    images = truth("sinusoidal").images
    places = [tuple(int(i[0]) for i in np.nonzero(images.x[image, 0])) for image in BRIGHT]
    assert places == [(0, 0), (7, 7), (4, 4)]
    assert all("bright" in images.names[image] for image in BRIGHT)
    assert set(BRIGHT) & set(SHOWN)


def test_configuration_may_be_a_dataclass() -> None:
    from ddpm_bench.presets import preset

    subject = with_network(ReferenceNetwork(TINY))
    subject.network_config = preset("digits")
    assert config_of(subject)["base_channels"] == 32
