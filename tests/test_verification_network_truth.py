"""What outputs should be, kept by content, and how far the known wrong networks are from it."""

from __future__ import annotations

import numpy as np
from network_subjects import TINY

from verification import network_truth
from verification.network_truth import FREQUENCIES, SHOWN, Images, Truth, kept, truth_of
from verification.network_variants import VARIANTS, changes
from verification.oracle_network import predict
from verification.reference_network import generic_weights

WEIGHTS = generic_weights(TINY, 0)


def images(seed: int = 0, last: int = 999) -> Images:
    x = np.random.default_rng(seed).standard_normal((16, 3, 8, 8))
    return Images(x, np.linspace(0, last, 16).astype(int), tuple(f"image {i}" for i in range(16)))


def truth(last: int = 999) -> Truth:
    return truth_of(TINY, WEIGHTS, "float64", images(last=last))


def test_what_was_made_from_equal_content_is_not_made_again() -> None:
    made = []
    for weights in (WEIGHTS, {name: value.copy() for name, value in WEIGHTS.items()}):
        kept("test", TINY, weights, lambda: made.append(1))
    assert made == [1]


def test_another_kind_configuration_or_number_is_made_anew() -> None:
    changed = {**WEIGHTS, "conv_in.bias": np.nextafter(WEIGHTS["conv_in.bias"], 9)}
    made = []
    for kind, config, weights in (
        ("one kind", TINY, WEIGHTS),
        ("another", TINY, WEIGHTS),
        ("one kind", {**TINY, "groups": 2}, WEIGHTS),
        ("one kind", TINY, changed),
    ):
        kept(kind, config, weights, lambda: made.append(1))
    assert len(made) == 4


def test_memory_is_bounded() -> None:
    for number in range(2 * network_truth.KEPT):
        kept(f"filler {number}", {}, {}, lambda: None)
    assert len(network_truth._KEPT) == network_truth.KEPT


def test_statistics_over_the_batch_are_over_all_of_it() -> None:
    known = truth()
    (variant,) = [each for each in VARIANTS if each.details.norm_over == "batch"]
    whole = predict(TINY, WEIGHTS, known.images.x, known.images.t, details=variant.details)
    assert np.array_equal(known.outputs_of(variant), whole[list(SHOWN)])


def test_wrong_network_is_at_distance_0_from_itself_and_far_from_the_right_one() -> None:
    known = truth()
    for variant in known.variants[::8]:
        whole, _ = known.with_wrongs((variant,))
        assert known.distance(variant, whole) < 1.0
        assert known.distance(variant, known.right[0]) == known.clearest(variant)[1] > 1e3


def test_clearest_image_is_one_of_those_shown() -> None:
    known = truth()
    assert {known.clearest(variant)[0] for variant in known.variants} <= set(SHOWN)


def test_process_of_one_step_has_no_wrong_frequencies() -> None:
    missing = set(truth().variants) - set(truth(last=0).variants)
    assert missing
    assert all(changes(variant).keys() <= FREQUENCIES for variant in missing)


def test_place_says_which_image_channel_and_pixel() -> None:
    assert images().place((2, 1, 3, 4)) == "image 2, channel 1, pixel (3, 4)"
