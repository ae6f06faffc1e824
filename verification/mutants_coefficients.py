"""Every coefficient of a DDPM, bent in every way that coefficients are bent: mutants made from tables.

`OPERATORS` are what generic mutation tools lack: a relative error that only a derived tolerance sees, an index off by
one, a square root too few or too many, a lost sign. `REPLACEMENTS` are the formulas that people write by mistake. Each
mutant also knows what the diagnosis must say of it. Ids read "q_sample.x_0:squared".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verification.coefficients import COEFFICIENTS, DDIM, Bend, Coefficients, bent, judge_of
from verification.mutants import mutant
from verification.protocol import Array
from verification.reference import ReferenceSubject

STEPS = 50
"""T of these mutants: enough for every formula to differ from every other, and a check takes milliseconds."""


@dataclass(frozen=True)
class Operator:
    """A way of getting a coefficient wrong: `name`, the `mistake` in words, and what a diagnosis `says` of it."""

    name: str
    mistake: str
    bend: Bend
    says: str


OPERATORS = (
    Operator("x1.001", "is off by one part in a thousand", lambda at, t, _: 1.001 * at(t), "times 1.001"),
    Operator("x1.01", "is off by one part in a hundred", lambda at, t, _: 1.01 * at(t), "times 1.01"),
    Operator("doubled", "is doubled", lambda at, t, _: 2 * at(t), "doubled"),
    Operator("negated", "has the wrong sign", lambda at, t, _: -at(t), "sign flipped"),
    Operator("missing", "is missing", lambda at, t, _: 0 * at(t), "is missing"),
    Operator("squared", "lacks its square root", lambda at, t, _: at(t) * np.abs(at(t)), "square root missing"),
    Operator(
        "rooted",
        "has a square root too many",
        lambda at, t, _: np.sign(at(t)) * np.sqrt(np.abs(at(t))),
        "a square root too many",
    ),
    Operator("late", "is that of t + 1", lambda at, t, T: at(np.minimum(t + 1, T - 1)), "[t+1]: index off by one"),
    Operator("early", "is that of t - 1", lambda at, t, _: at(np.maximum(t - 1, 0)), "[t-1]: index off by one"),
    Operator(
        "half", "is made in float16", lambda at, t, _: at(t).astype(np.float16).astype(np.float64), "rounded to float16"
    ),
)

NOT_ALL = dict.fromkeys(DDIM, ("late", "early", "half")) | {"p_step.z": ("late",)}
"""What makes no sense: a DDIM coefficient has no table to misread; sigma of t + 1 is noise at the last step, M29."""


def _bend_to(formula: Callable[[ReferenceSubject], Array], model: ReferenceSubject) -> Bend:
    """The bend that puts another formula in a coefficient's place."""
    values = np.asarray(formula(model))
    return lambda _, t, __: values[t]


_RIGHT = ReferenceSubject(num_timesteps=STEPS)

REPLACEMENTS: tuple[tuple[str, str, Callable[[ReferenceSubject], Array], str], ...] = (
    ("q_sample.x_0", "sqrt(alpha)", lambda s: np.sqrt(s.alpha), "sqrt_alpha where"),
    ("q_sample.x_0", "1 - sqrt(1 - alpha_bar)", lambda s: 1 - np.sqrt(1 - s.alpha_bar), ""),
    ("q_sample.x_0", "sqrt(alpha_bar_prev)", lambda s: np.sqrt(s.alpha_bar_prev), "[t-1]: index off by one"),
    ("q_sample.eps", "sqrt(beta)", lambda s: np.sqrt(s.beta), "sqrt_beta where"),
    ("q_sample.eps", "1 - sqrt(alpha_bar)", lambda s: 1 - np.sqrt(s.alpha_bar), "1 - sqrt_alpha_bar where"),
    ("q_sample.eps", "sqrt(alpha_bar)", lambda s: np.sqrt(s.alpha_bar), "swapped"),
    ("q_step.x_prev", "1 - beta", lambda s: s.alpha, "square root missing"),
    ("q_step.x_prev", "1", lambda s: np.ones_like(s.beta), "1 at every t"),
    ("q_step.eps", "sqrt(1 - alpha_bar)", lambda s: np.sqrt(1 - s.alpha_bar), "sqrt_one_minus_alpha_bar where"),
    ("q_posterior.x_0", "coef_x_t", lambda s: s.posterior_coef_x_t, "posterior_coef_x_t where"),
    ("q_posterior.x_0", "sqrt(alpha_bar)", lambda s: np.sqrt(s.alpha_bar) * s.beta / (1 - s.alpha_bar), "beta sqrt("),
    ("q_posterior.x_t", "coef_x_0", lambda s: s.posterior_coef_x_0, "posterior_coef_x_0 where"),
    ("q_posterior.variance", "beta", lambda s: s.beta, "beta where posterior_variance belongs"),
    ("q_posterior.variance", "log variance", lambda s: s.posterior_log_variance, "posterior_log_variance where"),
    ("predict_x_0.x_t", "sqrt(alpha_bar)", lambda s: np.sqrt(s.alpha_bar), "inverted"),
    ("predict_x_0.x_t", "1 / sqrt(alpha)", lambda s: 1 / np.sqrt(s.alpha), "recip_sqrt_alpha where"),
    ("predict_x_0.eps", "no division", lambda s: -np.sqrt(1 - s.alpha_bar), "-sqrt_one_minus_alpha_bar where"),
    ("predict_eps.x_t", "1 / (1 - alpha_bar)", lambda s: 1 / (1 - s.alpha_bar), "square root missing"),
    ("predict_eps.x_0", "no division", lambda s: -np.sqrt(s.alpha_bar), "-sqrt_alpha_bar where"),
    ("velocity.eps", "sqrt(1 - alpha_bar)", lambda s: np.sqrt(1 - s.alpha_bar), "swapped"),
    ("score.eps", "-1 / (1 - alpha_bar)", lambda s: -1 / (1 - s.alpha_bar), "square root missing"),
    ("p_mean_variance.x_t", "1 / sqrt(alpha_bar)", lambda s: 1 / np.sqrt(s.alpha_bar), "recip_sqrt_alpha_bar where"),
    ("p_mean_variance.eps_hat", "no root", lambda s: -s.beta / np.sqrt(s.alpha) / (1 - s.alpha_bar), "-beta / sqrt("),
    ("p_mean_variance.variance", "beta", lambda s: s.beta, "beta where posterior_variance belongs"),
    ("p_step.x_t", "1 / sqrt(alpha_bar)", lambda s: 1 / np.sqrt(s.alpha_bar), "recip_sqrt_alpha_bar where"),
    ("p_step.x_t", "1 / alpha", lambda s: 1 / s.alpha, "square root missing"),
    ("p_step.eps_hat", "without beta", lambda s: -1 / np.sqrt(s.alpha * (1 - s.alpha_bar)), "-1 / sqrt("),
    ("p_step.z", "the variance", lambda s: np.append(0, s.posterior_variance[1:]), "square root missing"),
    ("p_step.z", "sqrt(beta)", lambda s: np.append(0, np.sqrt(s.beta[1:])), "equals sqrt(beta) "),
    ("tables.alpha_bar", "running sum", lambda s: 1 - np.cumsum(s.beta), "1 - cumsum(beta)"),
    ("tables.alpha_bar_prev", "wrapped", lambda s: np.roll(s.alpha_bar, 1), "except at t=0"),
    ("tables.posterior_variance", "beta", lambda s: s.beta, "beta where posterior_variance belongs"),
    ("tables.beta", "divided by T", lambda s: s.beta / len(s.beta), "beta / T"),
)
"""Coefficient, what stands in its place, the formula, and what the diagnosis says."""

SAYS: dict[str, str] = {}
"""What the diagnosis of each mutant's own check must contain, by id; nothing where no formula can be named."""


def _plant(coefficient: str, form: str, mistake: str, bend: Bend, says: str) -> None:
    name = f"{coefficient}:{form}"
    made: type[Coefficients] = bent(coefficient, bend)
    mutant(name, f"the coefficient {coefficient} {mistake}", (judge_of(coefficient),), num_timesteps=STEPS)(made)
    SAYS[name] = says


for _coefficient in COEFFICIENTS:
    for _operator in OPERATORS:
        if _operator.name not in NOT_ALL.get(_coefficient, ()):
            _plant(_coefficient, _operator.name, _operator.mistake, _operator.bend, _operator.says)
for _coefficient, _form, _formula, _says in REPLACEMENTS:
    _plant(_coefficient, f"is {_form}", f"is {_form}", _bend_to(_formula, _RIGHT), _says)
