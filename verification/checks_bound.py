"""The bound is a bound: no term of it missing, halved or of the wrong sign could keep it above the exact likelihood.

    -log p(x_0) <= E [L_T + sum of L_{t-1} + L_0], and the difference is KL(q(x_{1:T} | x_0) || p(x_{1:T} | x_0))
                                                                                     Ho et al. 2020, Eqs. 3 and 5

In one dimension p(x_0) is known for any model: the density of the sampler's chain by quadrature, and the decoder's bins
over it (`oracle_mixture.model_bits`). So the inequality is tested level by level, on a mixture whose best model is not
linear. The expectation over the noise is taken by Gauss-Hermite quadrature, not by sampling: each term of the bound
depends on one normal number, so images with one level and different nodes are all it takes, and nothing is random.

Equality holds where every reverse step is exact: Gaussian data with the variance that the sampler has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.special import roots_hermitenorm

from verification.check import Evidence, check
from verification.draws import MIXTURE, STEPS, with_few_steps
from verification.identification import as_input
from verification.likelihood_rounding import decoder_bound, kl_bound, prior_bound
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, GaussianChain, Integers, step_variance
from verification.oracle_likelihood import LEVELS, expected_continuous_decoder, gap_identity, to_bits
from verification.oracle_mixture import model_bits
from verification.protocol import Subject, dtype_of
from verification.step_rounding import mean_bounds, sigma_error
from verification.tolerance import compare, gamma, unit_roundoff

NODES = 80
"""Of the quadrature over the noise: twice as many change no expectation by more than 1e-4 bits."""

QUADRATURE = 1e-3
"""Bits that the quadrature over the noise may be off: ten times what it was seen to be."""

POINTS: Array = np.array([0.0, 2.0, -2.0, 0.0, 0.0])
WEIGHTS: Array = np.array([1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8])
"""Five points in (x_0, eps) that give the mean of every quadratic: see `vlb_probe.py`. The second reads them rolled."""


@check(
    "VLB-3",
    claim="The bound is nowhere below the exact -log p(x_0), on average above the data's entropy, tight if it can be.",
    source="Ho et al. 2020, Eqs. 3 and 5; p(x_0) by quadrature of the chain's density",
    needs=("vlb_terms", "variant", "num_timesteps", "variance"),
    level=4,
    kills=("M49", "R18", "R19", "R23"),
    tolerance="T1 and T4: rounding of the terms; 0.001 bits for the quadrature over the noise; nothing is random.",
)
def bound_on_likelihood(subject: Subject) -> Iterator[Evidence]:
    """A mixture level by level and on average; and Gaussian data N(0, 1) where the variance is beta."""
    few = with_few_steps(subject)
    tables = exact(few)
    chances = MIXTURE.bins()
    likely = np.flatnonzero(chances > chances.max() * 1e-9)
    bound, rounding = expected_bound(few, LEVELS[likely])
    exact_bits = model_bits(tables, MIXTURE, few.variance)[likely]
    yield compare(
        np.maximum(exact_bits - bound, 0.0),
        np.zeros(len(likely)),
        rounding + QUADRATURE,
        where=lambda index: f"mixture, x_0 at level {likely[index[0]]}",
        reason="the bound, averaged over the noise, is not below -log2 p(x_0) of the model",
        diagnosis="a term of the bound is missing, too small or of the wrong sign",
    )
    share = chances[likely] / chances[likely].sum()
    entropy = float(-np.sum(share * np.log2(share)))
    yield compare(
        max(entropy - float(share @ bound), 0.0),
        0.0,
        float(share @ rounding) + QUADRATURE,
        where="mixture, average over the data",
        reason="no code for the data is shorter than their entropy",
    )
    if few.variance == "beta":
        yield tight(few, tables)


def expected_bound(subject: Subject, levels: Array) -> tuple[Array, Array]:
    """The bound of each level averaged over the noise, and what rounding may do to it, both in bits, (levels,)."""
    nodes, weights = roots_hermitenorm(NODES)
    weights = weights / weights.sum()
    x_0 = as_input(subject, np.repeat(levels, NODES)).astype(np.float64)
    eps = as_input(subject, np.tile(nodes, len(levels))).astype(np.float64)
    way = Way(subject, partial(MIXTURE.eps_hat, exact(subject)), x_0, eps)
    shape = (len(levels), NODES)
    total = way.terms()["total"].reshape(shape)
    rounding = (way.rounding() + way.decoder_rounding()).reshape(shape)
    of_sum = gamma(STEPS + 8, unit_roundoff(dtype_of(subject)))
    return total @ weights, to_bits(rounding @ weights) + of_sum * (np.abs(total) @ weights)


def tight(subject: Subject, tables: ExactSchedule) -> Evidence:
    """Evidence that for data N(0, 1) with variance beta the bound is the entropy: every step is the exact one.

    With a density in the place of the decoder's bins. Prior and KL terms are quadratic in (x_0, eps): five points.
    """
    chain = GaussianChain(tables, np.zeros(1), np.ones(1))
    way = Way(subject, chain.eps_hat, POINTS, np.roll(POINTS, 2))
    terms = way.terms()
    of_sum = gamma(STEPS + 8, unit_roundoff(dtype_of(subject))) * math.log(2) * np.abs(terms["total"])
    return compare(
        float((terms["total"] - terms["decoder"]) @ WEIGHTS) * math.log(2),
        float(gap_identity(chain, "beta")[0] - expected_continuous_decoder(chain, "beta")[0]),
        float((way.rounding() + of_sum) @ WEIGHTS),
        where="N(0, 1) with variance beta, nats",
        reason="all but the decoder is the entropy less the last step's: no reverse step gives anything away",
    )


@dataclass(frozen=True, eq=False)
class Way:
    """Images of one number each, `x_0` (n,), the same noise `eps` (n,) at every t, and the model `best`(x_t, t)."""

    subject: Subject
    best: Callable[[Array, int], Array]
    x_0: Array
    eps: Array

    def terms(self) -> dict[str, Array]:
        """`vlb_terms` of them in float64."""

        def model(x_t: Array, t: Integers) -> Array:
            return as_input(self.subject, self.best(np.asarray(x_t, np.float64), int(np.asarray(t)[0])))

        shape = (len(self.x_0), 1, 1, 1)
        eps = np.broadcast_to(self.eps.reshape(shape), (STEPS, *shape)).copy()
        terms = self.subject.vlb_terms(model, self.x_0.reshape(shape), eps)
        return {name: np.asarray(values).astype(np.float64) for name, values in terms.items()}

    @property
    def tables(self) -> ExactSchedule:
        """Of the subject."""
        return exact(self.subject)

    @cached_property
    def x_t(self) -> Array:
        """The exact x_t at every t, (T, n)."""
        signal, noise = self.tables.sqrt_alpha_bar, self.tables.sqrt_one_minus_alpha_bar
        return np.asarray(np.outer(signal, self.x_0) + np.outer(noise, self.eps))

    @cached_property
    def eps_hat(self) -> Array:
        """What the model says there, (T, n)."""
        return np.stack([self.best(self.x_t[t], t) for t in range(STEPS)])

    @property
    def miss(self) -> Array:
        """x_0 less the x_0 that the model means, (T, n)."""
        scale = self.tables.sqrt_one_minus_alpha_bar / self.tables.sqrt_alpha_bar
        return np.asarray(scale[:, None] * (self.eps_hat - self.eps))

    def rounding(self) -> Array:
        """What rounding may do to the prior and the KL terms together, in nats, (n,)."""
        x_0 = np.array(np.broadcast_to(self.x_0, self.x_t.shape))
        of_kl = kl_bound(self.subject, self.tables, x_0, self.x_t, self.eps_hat, self.miss)
        return np.asarray(of_kl.sum(axis=0) + prior_bound(self.tables, dtype_of(self.subject), np.square(self.x_0)))

    def decoder_rounding(self) -> Array:
        """What rounding may do to the decoder's term, in nats, (n,)."""
        dtype = dtype_of(self.subject)
        of_x_t, of_eps = (each[0] for each in mean_bounds(self.tables, dtype))
        log_scale = math.log(step_variance(self.tables, self.subject.variance)[0]) / 2
        return decoder_bound(
            self.x_0,
            self.x_0 - self.miss[0],
            np.full_like(self.x_0, log_scale),
            dtype,
            mean_error=of_x_t * np.abs(self.x_t[0]) + of_eps * np.abs(self.eps_hat[0]),
            scale_error=float(sigma_error(self.tables, self.subject.variance, dtype)[0]),
        )
