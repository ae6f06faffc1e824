"""The list of known failures excuses what it names, and cannot rot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from verification import known_failures
from verification.check import CHECKS, Check, Evidence, Finding, run_checks
from verification.known_failures import KnownFailure, KnownFailures, in_range, installed, load_known_failures
from verification.protocol import Subject, VerificationError
from verification.reference import ReferenceSubject
from verification.report import exit_code


def fails(subject: Subject) -> Iterator[Evidence]:
    yield Evidence(2.0, 1.0, "t=1", "too much")


def passes(subject: Subject) -> Iterator[Evidence]:
    yield Evidence(0.5, 1.0, "t=1", "fine")


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    for id_, run in [("K-1", fails), ("K-2", passes)]:
        monkeypatch.setitem(CHECKS, id_, Check(id_, "c", "s", (), run, 0, (), "T0"))


def judged(known: KnownFailures, *ids: str) -> list[Finding]:
    return run_checks(ReferenceSubject(num_timesteps=2), [CHECKS[id_] for id_ in ids], known_failures=known)


def entry(**where: str) -> KnownFailure:
    return KnownFailure("the kernel is off", **where)


def test_known_failure_is_excused_with_its_reason() -> None:
    (finding,) = judged(KnownFailures({"K-1": entry()}), "K-1")
    assert finding.status == "known_failure"
    assert "the kernel is off" in finding.reason
    assert "too much" in finding.reason
    assert exit_code([finding]) == 0


def test_other_failures_are_not_excused() -> None:
    (finding,) = judged(KnownFailures({"K-2": entry()}), "K-1")
    assert finding.status == "failed"


def test_entry_whose_check_passes_fails_the_run() -> None:
    (finding,) = judged(KnownFailures({"K-2": entry()}), "K-2")
    assert finding.status == "unexpected_pass"
    assert exit_code([finding]) == 1


def test_entry_that_matches_no_check_fails_the_run() -> None:
    passed, stray = judged(KnownFailures({"K-3": entry()}), "K-2")
    assert (passed.status, stray.status, stray.check) == ("passed", "unexpected_pass", "K-3")
    assert exit_code([passed, stray]) == 1


def test_entry_for_a_check_that_was_not_asked_for_is_silent() -> None:
    assert [finding.status for finding in judged(KnownFailures({"K-1": entry()}), "K-2")] == ["passed"]


def test_error_is_never_excused() -> None:
    broken = Check("K-1", "c", "s", (), lambda _: iter(()), 0, (), "T0")
    (finding,) = run_checks(ReferenceSubject(), [broken], known_failures=KnownFailures({"K-1": entry()}))
    assert finding.status == "error"


def test_entry_for_another_release_or_device_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_failures, "installed", lambda _: "2.7.1.post1")
    assert judged(KnownFailures({"K-1": entry(mindspore=">=2.9")}), "K-1")[0].status == "failed"
    assert judged(KnownFailures({"K-1": entry(mindspore="<2.9")}), "K-1")[0].status == "known_failure"
    assert judged(KnownFailures({"K-1": entry(device="Ascend")}), "K-1")[0].status == "failed"
    assert judged(KnownFailures({"K-1": entry(device="CPU")}), "K-1")[0].status == "known_failure"


@pytest.mark.parametrize(
    ("version", "bounds", "inside"),
    [
        ("2.9.0", "", True),
        ("", "", True),
        ("", ">=2.9", False),
        ("2.9.0", "==2.9", True),
        ("2.9.0", ">=2.9,<2.10", True),
        ("2.10.0", ">=2.9,<2.10", False),
        ("2.10.0", ">2.9", True),
        ("2.7.1.post1", ">=2.7.1,<=2.7.1", True),
        ("2.7.0", "<2.7", False),
    ],
)
def test_release_ranges_compare_numbers_not_text(version: str, bounds: str, inside: bool) -> None:
    assert in_range(version, bounds) == inside


def test_file_is_read_with_reason_range_and_device(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        '["NET-11.padding"]\nreason = "r"\nmindspore = ">=2.9, <2.11"\ndevice = "CPU"\n[SCH-1]\nreason = "s"\n'
    )
    known = load_known_failures(file)
    assert known.entries == {"NET-11.padding": KnownFailure("r", ">=2.9, <2.11", "CPU"), "SCH-1": KnownFailure("s")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[SCH-1", "is not TOML"),
        ("[SCH-1]\n", "gives no reason"),
        ('SCH-1 = "r"\n', "gives no reason"),
        ('[NET-11.padding]\nreason = "r"\n', "put an id with a dot in quotes"),
        ('[SCH-1]\nreason = "r"\ndevices = "CPU"\n', "reason, mindspore and device only"),
        ('[SCH-1]\nreason = "r"\nmindspore = 2.9\n', "reason, mindspore and device only"),
        ('[SCH-1]\nreason = "r"\nmindspore = "~=2.9"\n', "no version range"),
    ],
)
def test_file_of_another_form_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "known.toml"
    file.write_text(text)
    with pytest.raises(VerificationError, match=said):
        load_known_failures(file)


def test_command_that_shows_it_again_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "known failures.toml"
    file.write_text('[K-1]\nreason = "r"\n[K-2]\nreason = "s"\n')
    for finding in judged(load_known_failures(file), "K-1", "K-2"):
        assert finding.reproduce.endswith(f"--only {finding.check} --known-failures '{file}'")
    assert "--known-failures" not in judged(KnownFailures({}, str(file)), "K-1")[0].reproduce


def test_file_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read: No such file"):
        load_known_failures(tmp_path / "none.toml")


def test_installed_release_is_read_without_importing() -> None:
    assert installed("numpy").startswith("1.")
    assert installed("no-such-package-anywhere") == ""
