"""The decoder: an image's probability as that of 8-bit levels, every bin of which can be computed exactly.

    log p(x_0 | x_1) = log(Phi((x_0 + 1/255 - mean) / scale) - Phi((x_0 - 1/255 - mean) / scale)),
    the first bin open below and the last above                                            Ho et al. 2020, Eq. 13

All 256 levels under 24 Gaussians, from a decoder that is sure of one level to one that spreads over all, in one call.
The truth is a difference of `scipy.special.log_ndtr` with bins above the mean reflected below it, and 60-digit
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verification.affine import remembered
from verification.check import Evidence, check
from verification.identification import as_input
from verification.likelihood_rounding import decoder_bound, transition_errors
from verification.oracle import exact
from verification.oracle_gaussian import Array, step_variance
from verification.oracle_likelihood import (
    HALF_BIN,
    LEVELS,
    OPEN_END,
    decoder_log_likelihood_exact,
    decoder_log_likelihood_mp,
    decoder_tanh,
    to_bits,
)
from verification.protocol import Subject, dtype_of
from verification.tolerance import compare, gamma, holds, unit_roundoff
from verification.vlb_probe import ON_LEVELS, vlb_probe

MEANS = (-1.0, -0.375, 0.0, 0.5, 1.0, 1.3125)
LOG_SCALES = (-4.90625, -3.0, -1.0, 0.5)  # the first is that of the paper's decoder, to 5 bits
NARROW, WIDE = slice(0, None, 4), slice(3, None, 4)  # rows of the grid with the first and the last scale
SPARSE = slice(0, None, 15)  # levels that are also held against 60-digit arithmetic: 0, 15, …, 255

DECODER_TOLERANCE = (
    "T1: the edges of the bin; T4: kernels of exp, erfc and log; each magnified as the bin magnifies it."
)


@check(
    "DEC-1",
    claim="The decoder gives each of the 256 levels the probability of its own bin, half a level to either side.",
    source="Ho et al. 2020, Eq. 13",
    needs=("decoder_log_likelihood",),
    level=1,
    kills=("M54", "M55", "M58"),
    tolerance=DECODER_TOLERANCE,
)
def bin_probabilities(subject: Subject) -> Iterator[Evidence]:
    """Log-probabilities bin by bin, against two oracles."""
    grid, observed = decoder_inputs(subject), decoder_output(subject)
    bound = decoder_bound(*grid, dtype_of(subject))
    yield compare(
        observed,
        decoder_log_likelihood_exact(*grid),
        bound,
        where=decoder_place,
        reason="against differences of log_ndtr",
        diagnosis=lambda: wrong_decoder(observed, *grid),
    )
    few = tuple(each[:, SPARSE] for each in grid)
    yield compare(
        observed[:, SPARSE] if observed.shape == grid[0].shape else observed,
        decoder_log_likelihood_mp(*few),
        bound[:, SPARSE],
        where=lambda index: decoder_place((index[0], index[1] * 15)),
        reason="against 60-digit arithmetic",
    )


@check(
    "DEC-2",
    claim="The probabilities of the 256 levels add up to 1 for any mean and width, because the end bins are open.",
    source="Ho et al. 2020, Eq. 13",
    needs=("decoder_log_likelihood",),
    level=2,
    kills=("M54", "M55"),
    tolerance=DECODER_TOLERANCE + " Summed over the bins with their probabilities.",
)
def bins_add_up(subject: Subject) -> Iterator[Evidence]:
    """Sums over the levels, for 24 Gaussians."""
    grid, observed = decoder_inputs(subject), decoder_output(subject)
    bound = (np.exp(decoder_log_likelihood_exact(*grid)) * decoder_bound(*grid, dtype_of(subject))).sum(axis=1)
    yield compare(
        np.exp(observed).sum(axis=-1),
        np.ones(len(grid[0])),
        bound + 256 * unit_roundoff("float64"),
        where=lambda index: decoder_place((index[0], 0)).partition(", ")[2],
        reason="the sum of all bins",
        diagnosis=lambda: wrong_decoder(observed, *grid),
    )


@check(
    "DEC-3",
    claim="Log-probabilities stay finite and keep falling away from the mean, however far the level is.",
    source="Ho et al. 2020, Eq. 13; the normal distribution is unimodal",
    needs=("decoder_log_likelihood",),
    level=2,
    kills=("P10",),
    tolerance=DECODER_TOLERANCE + " Of two neighbours.",
)
def tails(subject: Subject) -> Iterator[Evidence]:
    """Order of neighbouring bins, open ends apart; bins are up to 350 standard deviations out."""
    grid, observed = decoder_inputs(subject), decoder_output(subject)
    x_0, mean, _ = grid
    yield holds(observed.shape == x_0.shape, where="shape", reason=f"{observed.shape}, that of x_0 is {x_0.shape}")
    if observed.shape != x_0.shape:
        return
    bound = decoder_bound(*grid, dtype_of(subject))
    lost = np.argwhere(~np.isfinite(observed))
    place = decoder_place(tuple(lost[0])) if len(lost) else "all bins"
    yield holds(not len(lost), where=place, reason=f"{len(lost)} log-probabilities are not finite numbers")
    if len(lost):
        return
    outward = np.sign((x_0[:, 1:] + x_0[:, :-1]) / 2 - mean[:, 1:])
    fall, falls = (-np.diff(each, axis=-1) * outward for each in (observed, decoder_log_likelihood_exact(*grid)))
    inner = np.all(np.abs([x_0[:, 1:], x_0[:, :-1]]) < OPEN_END, axis=0)
    either = bound[:, 1:] + bound[:, :-1]
    yield compare(
        np.where(inner, np.maximum(-fall, 0.0), 0.0),
        np.zeros_like(fall),
        either,
        where=decoder_place,
        reason="a bin farther from the mean is not more probable",
    )
    yield compare(
        (inner & (falls > 2 * either) & ~(fall > 0)).astype(float),
        np.zeros_like(fall),
        0.5,
        where=decoder_place,
        reason="a bin farther from the mean is less probable: the tails are not cut off",
        diagnosis="log-probabilities are cut off below",
    )


@check(
    "DEC-4",
    claim="Phi is the normal distribution function itself, not the tanh curve that imitates it.",
    source="Ho et al. 2020, Eq. 13; the imitation differs by 1.8e-4 in Phi and by nats in the tails",
    needs=("decoder_log_likelihood",),
    level=1,
    kills=("P11",),
    tolerance=DECODER_TOLERANCE + " Only bins where the two curves differ ten times more than that.",
)
def exact_phi(subject: Subject) -> Iterator[Evidence]:
    """The bins that tell the two curves apart."""
    grid, observed = decoder_inputs(subject), decoder_output(subject)
    truth, imitation = decoder_log_likelihood_exact(*grid), decoder_tanh(*grid)
    bound = decoder_bound(*grid, dtype_of(subject))
    telling = np.isfinite(imitation) & (np.abs(truth - imitation) > 10 * bound)
    places = np.argwhere(telling)
    yield compare(
        observed[telling] if observed.shape == telling.shape else observed,
        truth[telling],
        bound[telling],
        where=lambda index: decoder_place(tuple(places[index[0]])),
        reason=f"{len(places)} bins where the tanh curve would show",
        diagnosis=lambda: wrong_decoder(observed, *grid),
    )


@check(
    "DEC-5",
    claim="Bits per dimension are nats over D ln 2, and a bin's probability is its density times its width, 2/255.",
    source="Ho et al. 2020, section 3.3; a continuous code length on [-1, 1] plus log2(127.5) is the discrete one",
    needs=("decoder_log_likelihood", "vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M54", "M58"),
    tolerance="T1: both ways round as the decoder does; the density varies over a bin by |z^2 - 1| width^2 / 24.",
)
def bits_per_dimension(subject: Subject) -> Iterator[Evidence]:
    """Wide bins against the density; and the bound's decoder term against the decoder itself, over D = 6 pixels."""
    grid, observed = decoder_inputs(subject), decoder_output(subject)
    inner = np.abs(LEVELS) < OPEN_END
    x_0, mean, log_scale = (each[WIDE][:, inner] for each in grid)
    z, width = (x_0 - mean) / np.exp(log_scale), 2 * HALF_BIN / np.exp(log_scale)
    density = -(z**2) / 2 - log_scale - math.log(math.sqrt(2 * math.pi))
    curvature = (np.abs(z**2 - 1) + 1) * width**2 / 24
    yield compare(
        to_bits(density - observed[WIDE][:, inner]),
        np.full_like(z, math.log2(127.5)),
        to_bits(curvature + decoder_bound(*grid, dtype_of(subject))[WIDE][:, inner]),
        where=lambda index: decoder_place((index[0] * 4 + 3, index[1] + 1)),
        reason="discrete less continuous code length is log2(127.5)",
        diagnosis=lambda: wrong_decoder(observed, *grid),
    )
    yield decoder_term(subject)


def decoder_term(subject: Subject) -> Evidence:
    """Evidence that the bound's decoder term is the mean of the subject's own decoder over the pixels, in bits."""
    found, dtype = vlb_probe(subject), dtype_of(subject)
    x_0, mean = (each[ON_LEVELS] for each in (found.x_0, found.x_0 - found.miss[0]))
    log_scale = np.full_like(mean, math.log(step_variance(exact(subject), subject.variance)[0]) / 2)
    own = -np.asarray(subject.decoder_log_likelihood(*(as_input(subject, each) for each in (x_0, mean, log_scale))))
    nats = own.astype(np.float64).mean(axis=(1, 2, 3))
    bound = decoder_bound(x_0, mean, log_scale, dtype, **transition_errors(subject, found, ON_LEVELS))
    return compare(
        np.asarray(found.terms["decoder"])[ON_LEVELS],
        to_bits(nats),
        to_bits(2 * bound.mean(axis=(1, 2, 3)) + gamma(8, unit_roundoff(dtype)) * np.abs(nats)),
        where="decoder",
        labels=("image",),
        reason="the mean over the six pixels, over ln 2",
        diagnosis=lambda: (
            "in nats, not in bits" if np.allclose(found.terms["decoder"][ON_LEVELS], nats, rtol=1e-4) else ""
        ),
    )


def decoder_inputs(subject: Subject) -> tuple[Array, Array, Array]:
    """All 256 grey levels (columns) under 24 Gaussians (rows), each (24, 256) float64, exact in the subject's type."""
    grid = np.meshgrid(MEANS, LOG_SCALES, indexing="ij")
    mean, log_scale = (np.repeat(each.reshape(-1, 1), 256, axis=1) for each in grid)
    x_0 = as_input(subject, np.broadcast_to(LEVELS, mean.shape).copy()).astype(np.float64)
    return x_0, mean, log_scale


def decoder_output(subject: Subject) -> Array:
    """`decoder_log_likelihood` on `decoder_inputs`, (24, 256) float64, asked once."""

    def call() -> Array:
        arguments = (as_input(subject, each) for each in decoder_inputs(subject))
        return np.asarray(subject.decoder_log_likelihood(*arguments)).astype(np.float64)

    return remembered(subject, "decoder", call)


def decoder_place(index: tuple[int, ...]) -> str:
    """An entry of the (24, 256) grid in words."""
    mean, log_scale = MEANS[index[0] // len(LOG_SCALES)], LOG_SCALES[index[0] % len(LOG_SCALES)]
    return f"level {index[1]}, mean {mean:g}, log scale {log_scale:g}"


def wrong_decoder(observed: Array, x_0: Array, mean: Array, log_scale: Array) -> str:
    """The wrong decoder that `observed` follows, if it is one that people write."""
    scale = np.exp(log_scale)
    density = -(((x_0 - mean) / scale) ** 2) / 2 - log_scale - math.log(math.sqrt(2 * math.pi))
    candidates = {
        "Phi is approximated by tanh": decoder_tanh(x_0, mean, log_scale),
        "a density, not the probability of a bin": density,
        "a density times the bin's width": density + math.log(2 * HALF_BIN),
        "log_scale is taken for a log variance": decoder_log_likelihood_exact(x_0, mean, log_scale / 2),
    }
    for width in (1 / 256, 1 / 127.5, 1 / 127, 1 / 510):
        values = decoder_log_likelihood_exact(x_0, mean, log_scale, half_bin=width)
        candidates[f"half a bin is 1/{1 / width:g} instead of 1/255"] = values
    fits = {text: misfit(observed, values) for text, values in candidates.items()}
    best = min(fits, key=lambda text: fits[text])
    right = misfit(observed, decoder_log_likelihood_exact(x_0, mean, log_scale))
    return best if fits[best] < min(1e-3, right / 5) else ""


def misfit(observed: Array, candidate: Array) -> float:
    """Mean distance over the bins in the middle, where the candidate is defined and no tail's cut-off matters."""
    usable = np.isfinite(candidate) & np.isfinite(observed) & (candidate > -6)
    return float(np.abs(observed - candidate)[usable].mean()) if usable.any() else math.inf
