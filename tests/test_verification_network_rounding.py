"""The rounding model of a network: each operation's deviation covers what float32 really does, and not by much."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from verification.network_rounding import (
    DEVIATIONS,
    DRAWS,
    KERNELS,
    Exact,
    MonteCarlo,
    allowed_error,
    kernel_error,
    sum_size,
)

ROUNDOFF = 2.0**-24


@pytest.mark.parametrize("mean", [0.0, 1.0], ids=["cancelling", "growing"])
@pytest.mark.parametrize("terms", [10, 300])
def test_recursive_float32_sums_err_less_than_the_deviation_and_more_than_a_tenth(terms: int, mean: float) -> None:
    random = np.random.default_rng(0)
    products = (mean + random.standard_normal((2000, terms))).astype(np.float32)
    total = np.zeros(2000, np.float32)
    for column in products.T:
        total += column
    exact = products.astype(float).sum(axis=1)
    size = ROUNDOFF * sum_size(terms, exact, (products.astype(float) ** 2).sum(axis=1))
    error = np.sqrt(np.mean((total - exact) ** 2)) / np.sqrt(np.mean(size**2))
    assert 0.1 < error < 1.0


@pytest.mark.parametrize("mean", [0.0, 1.0], ids=["cancelling", "growing"])
def test_size_of_a_sum_is_that_of_its_partial_sums_over_all_orders(mean: float) -> None:
    values = np.random.default_rng(1).standard_normal(6)
    values += mean - values.mean()
    partial = [np.sum(np.cumsum(order) ** 2) for order in itertools.permutations(values)]
    squares = np.sum(values**2)
    rounded = np.mean(partial) + squares  # the sums and the products
    size = float(sum_size(6, values.sum(), squares)) ** 2
    assert size == pytest.approx(rounded, rel=1e-12)


def test_imitated_errors_have_the_deviation_asked_for() -> None:
    value = np.full((400, 500), 3.0)
    noisy = MonteCarlo("float32").error(value, lambda: 7.0 * np.ones_like(value))
    assert np.std(noisy - value) == pytest.approx(7.0 * ROUNDOFF, rel=0.01)


def test_sums_err_by_their_size() -> None:
    value, squares = np.full((400, 500), 3.0), np.full((400, 500), 2.0)
    noisy = MonteCarlo("float32").dot(value, 10, lambda: squares)
    expected = ROUNDOFF * float(sum_size(10, np.array(3.0), np.array(2.0)))
    assert np.std(noisy - value) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("op", KERNELS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_kernel_has_an_error_in_every_type(op: str, dtype: str) -> None:
    assert 0 < kernel_error(op, dtype) < 0.05


def test_one_seed_gives_one_sequence_of_errors() -> None:
    value = np.ones((3, 4))
    first, again, other = (MonteCarlo("float32", seed).kernel("silu", value) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exact_arithmetic_changes_nothing() -> None:
    value = np.array([1.0, 2.0])
    exact = Exact()
    assert exact.dot(value, 9, lambda: value) is value
    assert exact.kernel("silu", value) is value
    assert exact.error(value, lambda: value) is value


def test_allowed_error_is_each_images_own() -> None:
    exact = np.zeros((2, 1, 4, 4))
    perturbed = [np.stack((np.full((1, 4, 4), 0.1), np.full((1, 4, 4), -3.0)))] * DRAWS
    bound = allowed_error(exact, perturbed)
    assert bound.shape == (2, 1, 1, 1)
    assert bound.ravel() == pytest.approx(DEVIATIONS * np.array([0.1, 3.0]))
