"""The enclosure of Adam's step holds every step of Adam, and little else."""

from __future__ import annotations

import numpy as np
import pytest

from verification.adam_enclosure import BETA_1, BETA_2, EPSILON, ORDERS, enclosure, epsilon_of, relative, shares

U = 2.0**-24
B_1, B_2 = 0.9, 0.999


def recursion(gradients: np.ndarray, order: str, kind: type = np.float64) -> np.ndarray:
    """Adam's last step over `gradients` (n, ...), in the arithmetic of `kind`, in units of the rate."""
    m = v = np.zeros(gradients.shape[1:], kind)
    for g in gradients.astype(kind):
        m = kind(B_1) * m + (kind(1) - kind(B_1)) * g
        v = kind(B_2) * v + (kind(1) - kind(B_2)) * g * g
    n = len(gradients)
    first, second = kind(1) - kind(B_1) ** n, kind(1) - kind(B_2) ** n
    if order == ORDERS[0]:
        return (m / first) / (np.sqrt(v / second) + kind(EPSILON))
    return np.sqrt(second) / first * m / (np.sqrt(v) + kind(EPSILON))


def drawn(n: int, seed: int = 0) -> np.ndarray:
    """Gradients of every size from 1e-9 to 1, so that epsilon counts for some."""
    random = np.random.default_rng(seed)
    return random.standard_normal((n, 2000)) * 10 ** random.uniform(-9, 0, 2000)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("order", ORDERS)
def test_due_step_is_that_of_the_recursion(n: int, order: str) -> None:
    g = drawn(n)
    np.testing.assert_allclose(enclosure(g, [0.0] * n, U, order=order).due, recursion(g, order), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_steps_with_gradients_within_their_bounds_lie_inside(n: int, order: str) -> None:
    """In float32, whose constants are rounded too, with errors at the ends of the bounds and between."""
    g, bounds = drawn(n), 10.0 ** -np.arange(3, 3 + n)
    step = enclosure(g, list(bounds), U, order=order)
    random = np.random.default_rng(1)
    for _ in range(20):
        error = random.choice([-1, -0.5, 0, 0.5, 1], g.shape) * bounds[:, None]
        seen = recursion(g + error, order, np.float32).astype(float)
        slack = 1e-6  # of float32 gradients themselves, which the bounds do not count
        assert (seen >= step.low - slack).all()
        assert (seen <= step.high + slack).all()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_enclosure_is_narrow_where_gradients_are_sure(n: int) -> None:
    """Ten thousand times their bound: then an entry is known to 1e-3, most of it from 1 - 0.999 in float32."""
    g = np.sign(drawn(n)) * np.random.default_rng(2).uniform(0.5, 1, (n, 2000))
    assert enclosure(g, [1e-4 / 2] * n, U, order=ORDERS[0]).reach.max() < 1e-3


def test_orders_differ_by_half_where_a_gradient_is_as_small_as_epsilon() -> None:
    g = np.array([[EPSILON / (1 - B_2) ** 0.5]])
    first, second = (enclosure(g, [0.0], U, order=order) for order in ORDERS)
    assert first.due == pytest.approx(0.97, abs=0.01)
    assert second.due == pytest.approx(0.5, abs=1e-6)
    assert second.high < first.low


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [1, 3])
def test_no_gradient_is_no_step_and_nothing_is_allowed(n: int, order: str) -> None:
    step = enclosure(np.zeros((n, 5)), [0.0] * n, U, order=order)
    assert not step.due.any()
    assert not step.reach.any()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_hopeless_gradient_is_still_bounded(n: int) -> None:
    """By Cauchy and Schwarz, with equality for gradients in the ratio of the shares."""
    worst = (shares(BETA_1, n) / shares(BETA_2, n))[:, None]
    step = enclosure(np.full((n, 1), 1e-6), [1.0] * n, U, order=ORDERS[0])
    assert recursion(worst, ORDERS[0])[0] <= step.high[0] < 1.01 * recursion(worst, ORDERS[0])[0]
    assert step.low[0] == pytest.approx(-step.high[0], rel=1e-9)


def test_shares_add_up_to_one_and_favour_the_last() -> None:
    assert shares(BETA_1, 4).sum() == pytest.approx(1, abs=1e-15)
    assert (np.diff(shares(BETA_1, 4)) > 0).all()


def test_constants_rounded_to_float32_are_granted() -> None:
    """1 - 0.999 of the rounded 0.999 is 1.3e-5 off, less than the 1.2e-4 granted."""
    off = abs((1 - float(np.float32(BETA_2))) / (1 - BETA_2) - 1)
    assert 1e-5 < off < relative(BETA_2, 1, U) < 2e-4


def test_epsilon_of_section_two_is_32_times_larger_at_first() -> None:
    assert epsilon_of(ORDERS[0], 1) == EPSILON
    assert epsilon_of(ORDERS[1], 1) == pytest.approx(31.6 * EPSILON, rel=1e-3)
