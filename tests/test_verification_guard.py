"""The judge's arrays stay its own, and what a subject returns is of the kind it promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.guard import Guarded, SubjectError, guarded
from verification.reference import ReferenceSubject

x, t, eps = np.ones((2, 3)), np.array([0, 1]), np.zeros((2, 3))


class Odd(ReferenceSubject):
    """A reference that returns `given` from the method under test."""

    given: Any = None

    def q_sample(self, *_: Any) -> Any:
        return self.given

    def q_posterior(self, *_: Any) -> Any:
        return self.given

    def vlb_terms(self, *_: Any) -> Any:
        return self.given


def test_attributes_and_results_pass_through() -> None:
    plain, watched = ReferenceSubject(num_timesteps=4), guarded(ReferenceSubject(num_timesteps=4))
    assert watched.name == plain.name
    assert (watched.q_sample(x, t, eps) == plain.q_sample(x, t, eps)).all()
    assert watched.loss(lambda a, _: a, x, t, eps) == plain.loss(lambda a, _: a, x, t, eps)
    assert set(watched.tables()) == set(plain.tables())


def test_what_the_subject_lacks_the_watched_one_lacks() -> None:
    assert not hasattr(guarded(ReferenceSubject()), "network")
    assert hasattr(guarded(ReferenceSubject(network=True)), "network")


def test_variants_are_watched_too_and_watching_twice_is_watching_once() -> None:
    watched = guarded(ReferenceSubject(num_timesteps=4))
    assert isinstance(watched.variant(schedule="cosine"), Guarded)
    assert guarded(watched) is watched


@pytest.mark.parametrize("position", [0, 1, 2])
def test_changed_argument_is_named_and_the_judges_array_is_untouched(position: int) -> None:
    class Scribbler(ReferenceSubject):
        def q_sample(self, *args: Any) -> Any:
            args[position][...] = 7
            return np.zeros((2, 3))

    given = [x.copy(), t.copy(), eps.copy()]
    with pytest.raises(SubjectError, match=f"q_sample changed its argument {position + 1}"):
        guarded(Scribbler(num_timesteps=4)).q_sample(*given)
    assert all((a == b).all() for a, b in zip(given, (x, t, eps), strict=True))


def test_keyword_arguments_are_watched_too() -> None:
    class Scribbler(ReferenceSubject):
        def q_sample(self, x_0: Any, t: Any, eps: Any) -> Any:
            eps += 1
            return x_0

    with pytest.raises(SubjectError, match="argument 3"):
        guarded(Scribbler(num_timesteps=4)).q_sample(x_0=x, t=t, eps=eps)


def test_result_of_another_dtype_is_refused_inside_pairs_and_dictionaries_too() -> None:
    subject = Odd(num_timesteps=4)
    watched = guarded(subject)
    subject.given = np.zeros(2, np.float32)
    with pytest.raises(SubjectError, match="float32, but the subject's dtype is float64"):
        watched.q_sample(x, t, eps)
    subject.given = (np.zeros(2), np.zeros(2, np.float32))
    with pytest.raises(SubjectError, match="q_posterior returned float32"):
        watched.q_posterior(x, x, t)
    subject.given = {"prior": np.zeros(2), "kl": [0.0]}
    with pytest.raises(SubjectError, match="vlb_terms returned list"):
        watched.vlb_terms(lambda a, _: a, x, eps)


def test_half_precision_without_a_numpy_type_may_come_back_as_float32() -> None:
    subject = Odd(num_timesteps=4)
    subject.dtype, subject.given = "bfloat16", np.zeros(2, np.float32)
    assert guarded(subject).q_sample(x, t, eps) is subject.given


def test_integers_and_stored_tables_keep_their_own_types() -> None:
    watched = guarded(ReferenceSubject(num_timesteps=4, dtype="float32"))
    assert watched.timesteps(2).dtype.kind == "i"
    assert watched.to_uint8(x).dtype == np.uint8
