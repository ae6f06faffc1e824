"""`pytest --pyargs verification` judges any subject from anywhere, and no other test run sees its options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import verification
from verification.check import select

REFERENCE = "verification.reference:ReferenceSubject"
WRONG = """
import numpy as np
from verification.reference import ReferenceSubject

class Wrong(ReferenceSubject):
    def q_step(self, x_prev, t, eps):
        return self._at(np.sqrt(1 - self.beta), t, x_prev) * x_prev + self._at(self.beta, t, x_prev) * eps

def make(mode="graph"):
    return ReferenceSubject(num_timesteps=20)
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not the repository, where the wheel's pytest entry point counts as installed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    information = folder / "site" / "door-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: door\nVersion: 1.0\n")
    # Under the wheel's own name for it, so that where the wheel is installed pytest loads it once.
    (information / "entry_points.txt").write_text("[pytest11]\nddpm-bench = verification.pytest_door\n")
    (folder / "site" / "wrong.py").write_text(WRONG)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in `folder`, with the judge and the folder's `site` on the path and no options from outside."""
    path = os.pathsep.join([str(Path(verification.__path__[0]).parent), str(folder / "site")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_every_quick_check_is_a_test_of_the_subject(elsewhere: Path) -> None:
    done = run(elsewhere, "--pyargs", "verification", "--subject", f"{REFERENCE}(num_timesteps=20)", "--collect-only")
    assert done.returncode == 0, done.stdout
    collected = {line.partition("[")[2].rpartition("]")[0] for line in done.stdout.splitlines() if "::" in line}
    assert collected == {f"{check.id}-num_timesteps=20" for check in select()}


def test_right_subject_passes_and_wrong_one_fails_with_claim_command_and_seed(elsewhere: Path) -> None:
    done = run(elsewhere, "--pyargs", "verification", "--subject", REFERENCE, "-k", "FWD-3")
    assert done.returncode == 0, done.stdout
    done = run(elsewhere, "--pyargs", "verification", "--subject", "wrong:Wrong", "-k", "FWD-3", "--seed", "5")
    assert done.returncode == 1
    assert "Ho et al. 2020, Eq. 2" in done.stdout
    assert "ddpm-bench verify --subject wrong:Wrong --only FWD-3 --seed 5\n" in done.stdout


def test_both_modes_are_judged_and_a_missing_method_is_a_skip(elsewhere: Path) -> None:
    arguments = ("--pyargs", "verification", "--subject", "wrong:make", "-k", "FWD-3 or NET-5", "-rs")
    done = run(elsewhere, *arguments, "--mode", "both")
    assert "2 passed, 2 skipped" in done.stdout
    assert "the subject has no network" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--subject", "nowhere:Subject"), "module 'nowhere' does not import"),
        (("--subject", "wrong"), "not of the form module:factory"),
        (("--tier", "slow"), "invalid choice: 'slow'"),
        (("--profile", "weekly"), "invalid choice: 'weekly'"),
        (("--seed", "-3"), "the seed is -3"),
    ],
)
def test_mistake_is_a_sentence_and_not_a_traceback(elsewhere: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(elsewhere, "--pyargs", "verification", *arguments)
    assert done.returncode in (2, 4)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "conftest.py:" not in done.stdout


def test_fresh_seed_of_a_nightly_run_is_printed_and_one_for_all_workers(elsewhere: Path) -> None:
    pytest.importorskip("xdist")
    arguments = ("--pyargs", "verification", "--subject", "wrong:Wrong", "-k", "FWD-3 or FWD-4", "-n", "2")
    done = run(elsewhere, *arguments, "--profile", "nightly")
    said = re.search(r"verification: to judge .* add (--seed \d+ --profile nightly)", done.stdout)
    assert said, done.stdout
    assert f"--only FWD-3 {said[1]}\n" in done.stdout
    assert f"--only FWD-4 {said[1]}\n" in done.stdout


def test_options_do_not_exist_in_other_test_runs(elsewhere: Path) -> None:
    (elsewhere / "test_other.py").write_text("def test_nothing():\n    pass\n")
    assert run(elsewhere, "test_other.py").returncode == 0
    done = run(elsewhere, "test_other.py", "--subject", REFERENCE)
    assert done.returncode == 4, done.stdout
    assert "unrecognized arguments: --subject" in done.stderr


def test_package_given_as_a_path_needs_no_entry_point(elsewhere: Path) -> None:
    done = run(elsewhere / "site", str(verification.__path__[0]), "--subject", REFERENCE, "-k", "FWD-3")
    assert done.returncode == 0, done.stdout + done.stderr
