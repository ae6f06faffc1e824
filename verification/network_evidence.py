"""Evidence that a detail of the network is right: agreement where the detail shows, and proof that it does show."""

from __future__ import annotations

from collections.abc import Iterator

from verification.check import Evidence
from verification.network_trial import Trial
from verification.network_variants import Variant
from verification.tolerance import compare

CLEAR = 2.0
"""Bounds by which a wrong network must differ from the right one: then no output is within rounding of both."""

COARSE = ("float16", "bfloat16")
"""Types whose rounding may hide a detail that is there: agreement is all that can be asked of them."""


def confirmed(trial: Trial, check_id: str) -> Iterator[Evidence]:
    """Agreement with the right network on the images where the mistakes of `check_id` show, and that they do show.

    A network that is wrong in a known way which is another check's business is compared with the network that is wrong
    in that way only: one mistake fails its own check, and the others judge what is left.
    """
    shown = {trial.truth.clearest(variant)[0] for variant in trial.truth.variants if variant.check == check_id}
    for image in sorted(shown) or range(len(trial.images.x)):
        yield _agreement(trial, check_id, image)
    yield from distinguishable(trial, check_id)


def distinguishable(trial: Trial, check_id: str) -> Iterator[Evidence]:
    """That each known wrong network of `check_id` would have been seen: it differs by more than `CLEAR` bounds.

    This needs no output of the subject. It fails where the subject's weights hide the detail, such as a network whose
    last layers are still zero: what cannot be told from wrong has not been shown right.
    """
    for variant in trial.truth.variants:
        if variant.check == check_id and variant.visible and trial.truth.dtype not in COARSE:
            yield _separation(trial, variant)


def _separation(trial: Trial, variant: Variant) -> Evidence:
    image, apart = trial.truth.clearest(variant)
    reason = f"these weights and images tell a right network from one in which {variant.sentence}"
    return Evidence(CLEAR, apart, f"{trial.images.names[image]}, in units of rounding", reason)


def _agreement(trial: Trial, check_id: str, image: int) -> Evidence:
    explanation = trial.explanation
    excused = explanation is not None and not explanation.concerns(check_id)
    exact, bound = (explanation.outputs, explanation.bound) if explanation and excused else (trial.exact, trial.bound)
    reason = "the float64 oracle, and the rounding of the whole network"
    if explanation and excused:
        reason += f"; judged apart from this: {explanation.sentence}"
    return compare(
        trial.outputs[image : image + 1],
        exact[image : image + 1],
        bound[image : image + 1],
        where=lambda index: trial.images.place((image, *index[1:])),
        reason=reason,
        diagnosis=explanation.sentence if explanation else "",
    )
