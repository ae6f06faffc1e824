"""What is known of a gradient without a subject: its rounding, where it is zero by form, and the directions tried."""

from __future__ import annotations

import numpy as np
import pytest
from network_subjects import TINY, with_network

from verification.gradient_trial import GradientTruth, gradient_trial_of, gradient_truth_of, root_mean_square
from verification.reference_network import ReferenceNetwork


def truth(dtype: str = "float32", **changes: object) -> GradientTruth:
    return gradient_truth_of(with_network(ReferenceNetwork({**TINY, **changes}, dtype=dtype), dtype=dtype))


def test_allowed_error_is_a_small_part_of_every_gradient_that_is_not_zero_by_form() -> None:
    known = truth()
    parts = {n: known.bound(n) / root_mean_square(g) for n, g in known.exact.items() if known.living[n].any()}
    assert max(parts.values()) < 1e-2
    assert np.median(list(parts.values())) < 1e-3


def test_allowed_error_follows_the_type() -> None:
    single, double = truth("float32").bound("conv_in.weight"), truth("float64").bound("conv_in.weight")
    # 2^29 by roundoff; float32's kernels are a few times worse than its roundoff, float64's are not
    assert 2.0**28 < single / double < 2.0**33


def test_only_biases_of_attention_keys_have_no_gradient() -> None:
    dead = {name for name, mask in truth().living.items() if not mask.all()}
    assert dead == {name for name in truth().weights if name.endswith(".k.bias")}


def test_bias_before_a_normalisation_of_single_channels_has_no_gradient() -> None:
    living = truth(groups=8, num_heads=1).living
    assert not living["down.0.blocks.0.conv_1.bias"].any()
    assert living["down.1.blocks.0.conv_1.bias"].any()


def test_rows_of_a_learned_table_have_a_gradient_where_they_were_looked_up() -> None:
    known = truth(time_embedding="learned")
    rows = known.living["time_embedding.table.embedding_table"].any(axis=1)
    assert np.flatnonzero(rows).tolist() == sorted(set(known.t.tolist()))


def test_no_parameter_moves_by_more_than_its_own_size() -> None:
    known = truth()
    for direction in known.directions:
        moved = [root_mean_square(step) / root_mean_square(known.weights[name]) for name, step in direction.items()]
        assert max(moved) == pytest.approx(1.0)


def test_oracles_loss_at_rest_is_the_networks() -> None:
    known = truth("float64")
    network = ReferenceNetwork(TINY)
    error = network(known.x, known.t) - known.target
    assert known.loss(0, 0.0) == pytest.approx(float(np.mean(error**2)), rel=1e-12)


def test_gradient_is_asked_for_once() -> None:
    calls = []

    class Counted(ReferenceNetwork):
        def gradient(self, x: np.ndarray, t: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
            calls.append(len(x))
            return super().gradient(x, t, target)

    subject = with_network(Counted(TINY))
    assert gradient_trial_of(subject) is gradient_trial_of(subject)
    assert calls == [4]
