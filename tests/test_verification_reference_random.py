"""The reference draws what it says, and each number once."""

from __future__ import annotations

import numpy as np

from verification.reference import ReferenceSubject


def test_noise_and_batches_have_the_promised_shapes_and_types() -> None:
    subject = ReferenceSubject(num_timesteps=5, dtype="float32")
    x_T, z = subject.sampling_noise((3, 2, 4), 7, seed=1)
    assert (x_T.shape, x_T.dtype, z.shape, z.dtype) == ((3, 2, 4), np.float32, (7, 3, 2, 4), np.float32)
    x_0 = np.arange(24.0).reshape(4, 6)
    drawn = subject.training_batches(x_0, 10, 3, seed=1)
    assert {name: values.shape for name, values in drawn.items()} == {
        "x_0": (3, 10, 6),
        "t": (3, 10),
        "eps": (3, 10, 6),
    }
    assert (drawn["x_0"].dtype, drawn["eps"].dtype) == (np.float32, np.float32)
    assert {tuple(row) for row in drawn["x_0"].reshape(-1, 6)} == {tuple(row) for row in x_0}
    assert drawn["t"].min() >= 0
    assert drawn["t"].max() < 5


def test_seed_decides_and_sampling_and_training_share_nothing() -> None:
    subject = ReferenceSubject(num_timesteps=5)
    x_0 = np.zeros((2, 6))
    first, again, other = (subject.training_batches(x_0, 4, 2, seed)["eps"] for seed in (1, 1, 2))
    assert (first == again).all()
    x_T, z = subject.sampling_noise((4, 6), 2, 1)
    everything = np.concatenate([first.ravel(), other.ravel(), x_T.ravel(), z.ravel()])
    assert len(np.unique(everything)) == len(everything)
