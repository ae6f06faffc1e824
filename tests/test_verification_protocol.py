"""A subject is named on the command line in one form; what cannot be had is told in one sentence."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verification.protocol import Identity, Subject, VerificationError, dtype_of, gate_specs, load_subject, parse_spec
from verification.reference import ReferenceSubject

REFERENCE = "verification.reference:ReferenceSubject"


def make(mode: str = "graph", **choices: Any) -> ReferenceSubject:
    return ReferenceSubject(**choices)


def needy(checkpoint: str) -> ReferenceSubject:
    return ReferenceSubject()


@pytest.fixture
def house() -> Iterator[types.ModuleType]:
    """A module `house_of_subjects` with a factory that has modes, and one that has none."""
    module: Any = types.ModuleType("house_of_subjects")
    module.make, module.plain, module.needy, module.number = make, ReferenceSubject, needy, 3
    module.GATE = ({}, {"variance": "beta"})
    sys.modules["house_of_subjects"] = module
    yield module
    del sys.modules["house_of_subjects"]


def test_reference_fulfils_the_protocol_for_the_type_checker_and_at_run_time() -> None:
    reference = ReferenceSubject(network=True)
    described = {**vars(Identity), **vars(Subject)}
    promised = {name for name in described if not name.startswith("_")} | set(Subject.__annotations__)
    assert {name for name in promised if not hasattr(reference, name)} == {"counterparts"}


def test_subject_is_made_with_the_options_in_brackets() -> None:
    subject = load_subject(f"{REFERENCE}(schedule='cosine', num_timesteps=7, clip_x_0=True)")
    assert (subject.schedule or {})["name"] == "cosine"
    assert (subject.num_timesteps, subject.clip_x_0) == (7, True)


def test_spec_survives_the_round_trip_through_its_text() -> None:
    spec = parse_spec(f"{REFERENCE}(schedule='cosine', num_timesteps=7)")
    assert parse_spec(spec.text) == spec
    assert spec.label == "schedule=cosine,num_timesteps=7"
    assert parse_spec(REFERENCE).text == parse_spec(REFERENCE).label == REFERENCE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not of the form module:factory"),
        ("verification.reference", "not of the form module:factory"),
        ("a b:c", "not of the form module:factory"),
        ("../x.py:c", "not of the form module:factory"),
        ("verification.referense:ReferenceSubject", "does not import"),
        ("verification.reference:Nothing", "has no 'Nothing'"),
        ("house_of_subjects:number", "is a int, not something that can be called"),
        ("house_of_subjects:needy", "missing a required argument: 'checkpoint'"),
        (f"{REFERENCE}(colour=3)", "colour"),
        (f"{REFERENCE}('cosine')", "name=value"),
        (f"{REFERENCE}(schedule=open('x'))", "name=value"),
        (f"{REFERENCE}(schedule='cosine'", "name=value"),
        (f"{REFERENCE}(T=3) + f(T=3)", "name=value"),
    ],
)
def test_mistakes_are_told_in_one_sentence(house: types.ModuleType, text: str, said: str) -> None:
    with pytest.raises(VerificationError) as caught:
        load_subject(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_error_inside_a_factory_is_told_with_its_place() -> None:
    with pytest.raises(VerificationError, match=r"raised ValueError: .*known are linear.* \(reference\.py, line \d+\)"):
        load_subject(REFERENCE, schedule="lienar")


def test_module_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unreadable_subject.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VerificationError, match="importing 'unreadable_subject' raised SyntaxError"):
        load_subject("unreadable_subject:make")


def test_module_with_a_gate_is_judged_in_every_configuration_and_mode(house: types.ModuleType) -> None:
    assert [dict(spec.options) for spec in gate_specs("house_of_subjects:make", mode="both")] == [
        {"mode": "graph"},
        {"variance": "beta", "mode": "graph"},
        {"mode": "pynative"},
        {"variance": "beta", "mode": "pynative"},
    ]
    assert [dict(spec.options) for spec in gate_specs("house_of_subjects:plain", mode="both")] == [
        {},
        {"variance": "beta"},
    ]


def test_options_given_by_hand_replace_the_gate(house: types.ModuleType) -> None:
    (spec,) = gate_specs("house_of_subjects:make(mode='pynative')", mode="both")
    assert dict(spec.options) == {"mode": "pynative"}
    with pytest.raises(VerificationError, match="graph, pynative and both"):
        gate_specs("house_of_subjects:make", mode="eager")


def test_each_subject_of_a_gate_is_written_so_that_it_alone_is_made_again(house: types.ModuleType) -> None:
    specs = gate_specs("house_of_subjects:plain")
    assert [spec.text for spec in specs] == ["house_of_subjects:plain()", 'house_of_subjects:plain(variance="beta")']
    for spec in specs:
        assert gate_specs(spec.text) == [spec]


def test_module_in_the_working_directory_is_found_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subject_found_here.py").write_text("make = lambda: 'made here'\n")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert load_subject("subject_found_here:make") == "made here"
    assert sys.path.index(str(tmp_path)) == len(sys.path) - 1


def test_module_without_a_gate_has_one_subject() -> None:
    assert [spec.text for spec in gate_specs(REFERENCE, mode="both")] == [REFERENCE]


def test_dtype_is_understood_as_a_name_and_as_a_numpy_type() -> None:
    subject: Any = types.SimpleNamespace(dtype=np.float32)
    assert dtype_of(subject) == "float32"
    subject.dtype = "bfloat16"
    assert dtype_of(subject) == "bfloat16"
