"""Does training work? Trained on the real digits for a quarter of an hour, does the DDPM draw digits?

The judge is a classifier that knows nothing of diffusion. It has to be good (at least 97 % of digits it has not seen)
and hard to please: on noise, on Gaussian noise with the mean and covariance of the digits, and on the mean of two
digits its top probability is below what is asked of the samples, so that the bound can fail.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from ddpm_bench import checkpoint
from ddpm_bench.config import TrainConfig
from ddpm_bench.data import load
from ddpm_bench.generate import samples
from ddpm_bench.train import train

LEAST_ACCURACY, LEAST_TOP_PROBABILITY, MOST_SECONDS, COUNT = 0.97, 0.90, 900, 500

Images = NDArray[np.float32]


class Judge:
    """A classifier of digits and its accuracy on digits that it was not shown."""

    def __init__(self) -> None:
        digits = load("digits")
        flat = digits.images.reshape(len(digits), -1)
        shown, kept, shown_labels, kept_labels = train_test_split(
            flat, digits.labels, test_size=0.3, random_state=0, stratify=digits.labels
        )
        self._classifier = MLPClassifier((128,), max_iter=400, random_state=0).fit(shown, shown_labels)
        self.accuracy = self._classifier.score(kept, kept_labels)
        self.digits = flat

    def top_probability(self, images: Images) -> float:
        """Mean over images of the probability of the likeliest class; values beyond the pixels' range saturate."""
        return float(self._probabilities(images).max(axis=1).mean())

    def classes(self, images: Images) -> set[int]:
        return set(self._probabilities(images).argmax(axis=1).tolist())

    def _probabilities(self, images: Images) -> NDArray[np.float64]:
        result: NDArray[np.float64] = self._classifier.predict_proba(images.reshape(len(images), -1).clip(-1, 1))
        return result


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def test_judge_recognises_digits_it_has_not_seen(judge: Judge) -> None:
    assert judge.accuracy >= LEAST_ACCURACY


def test_judge_is_not_pleased_by_what_is_no_digit(judge: Judge) -> None:
    rng, digits = np.random.default_rng(0), judge.digits
    pairs = rng.integers(len(digits), size=(2, COUNT))
    for name, images in {
        "noise": rng.uniform(-1, 1, (COUNT, 64)),
        "noise with the digits' mean and covariance": rng.multivariate_normal(
            digits.mean(axis=0), np.cov(digits.T), COUNT
        ),
        "two digits at once": (digits[pairs[0]] + digits[pairs[1]]) / 2,
    }.items():
        assert judge.top_probability(images.astype(np.float32)) < LEAST_TOP_PROBABILITY - 0.05, name


@pytest.mark.slow
def test_trained_ddpm_draws_digits_of_every_class(judge: Judge, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The default run, and samples of its moving average by all T steps.

    The time is that of two cores with nothing else to do. Fixed seeds: on one machine the outcome is always the same.
    """
    if "slow" not in request.config.option.markexpr:
        pytest.skip("takes a quarter of an hour: run with `-m slow`")
    result = train(TrainConfig(), load("digits"), tmp_path)
    saved = checkpoint.load(result.checkpoint)
    images = samples(saved.config, saved.average, COUNT)
    assert judge.top_probability(images) >= LEAST_TOP_PROBABILITY
    assert judge.classes(images) == set(range(10))
    assert result.seconds <= MOST_SECONDS, "judge the time on a quiet machine"
