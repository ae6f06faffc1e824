"""The known wrong networks: each is wrong, in one detail, and said so where it can be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.check import load_checks
from verification.network_layout import Architecture
from verification.network_variants import VARIANTS, Variant, applicable, changes, pairs, together
from verification.oracle_network import RIGHT
from verification.reference_network import SMALL

ARCHITECTURE = Architecture.parse(SMALL)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.sentence)
def test_variant_is_wrong_in_one_detail_and_belongs_to_a_check(variant: Variant) -> None:
    assert len(changes(variant)) == 1
    assert variant.check in load_checks()


def test_sentences_tell_the_variants_apart() -> None:
    assert len({variant.sentence for variant in VARIANTS}) == len(VARIANTS)


def test_learned_time_embedding_has_no_order_of_sines() -> None:
    learned = replace(ARCHITECTURE, time_embedding="learned")
    dropped = set(applicable(ARCHITECTURE)) - set(applicable(learned))
    assert {variant.check for variant in dropped} == {"NET-9", "NET-11.sine_first", "NET-11.divisor"}


def test_one_head_cannot_be_mistaken_for_one_head() -> None:
    single = applicable(replace(ARCHITECTURE, num_heads=1))
    assert "attention has one head" not in {variant.sentence for variant in single}


def test_pairs_never_get_one_detail_wrong_twice() -> None:
    for couple in pairs(applicable(ARCHITECTURE)):
        assert len(changes(couple[0]) | changes(couple[1])) == 2


def test_wrongs_together_are_those_of_each() -> None:
    eps = next(variant for variant in VARIANTS if variant.details.norm_eps == 1e-5)
    padding = next(variant for variant in VARIANTS if variant.details.stride_padding == "symmetric")
    assert together((eps, padding)) == replace(RIGHT, norm_eps=1e-5, stride_padding="symmetric")
    assert together(()) == RIGHT
