"""Our scores and torch-fidelity's are the same numbers; its traps are what the bridge says; without it one is told.

What needs torch-fidelity is skipped where it is not installed. `tox -e fidelity` installs it, and fails first if it
cannot be imported.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from verification.fidelity import score
from verification.fidelity_features import Features, discriminant, features_named
from verification.fidelity_measures import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from verification.fidelity_torch import (
    OPTIONS,
    calculate,
    torch_fidelity,
    torch_inception_score,
    torch_scores,
)
from verification.oracle_empirical import digit_labels, digits
from verification.oracle_kde import kde_draw
from verification.protocol import VerificationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

try:
    library = torch_fidelity()
except VerificationError:
    library = None
needs_torch = pytest.mark.skipif(library is None, reason="torch-fidelity is not installed: `tox -e fidelity` has it")

ROOT = Path(__file__).parent.parent
IMAGES = digits().reshape(-1, 1, 8, 8)
TRAINING, REAL = IMAGES[::2], IMAGES[1::2]
SAMPLES = kde_draw(digits(), 0.2, len(REAL), np.random.default_rng(0)).reshape(-1, 1, 8, 8)
PIXELS = features_named("pixels")
ROUNDING_OF_A_SHARE = 2.0**-23  # torch-fidelity takes the mean of single-precision ones and zeros


def ours(samples: np.ndarray, reference: np.ndarray, see: Features) -> dict[str, float]:
    rows, others = see(samples), see(reference)
    precision, recall = precision_recall(rows, others)
    values = {"FID": frechet_distance(rows, others), "KID": kernel_distance(rows, others).value}
    return {
        f"{name}[{see.name}]": value for name, value in {**values, "precision": precision, "recall": recall}.items()
    }


@needs_torch
@pytest.mark.parametrize("name", ["pca-32", "conv-64"])
def test_scores_agree_with_torch_fidelity(name: str) -> None:
    """FID and KID to 1e-9; the shares to the rounding of a mean in single precision."""
    see = features_named(name, TRAINING)
    theirs, mine = torch_scores(SAMPLES, REAL, see), ours(SAMPLES, REAL, see)
    assert set(theirs) == set(mine)
    for title, value in mine.items():
        tolerance = 1e-9 if title[:3] in ("FID", "KID") else ROUNDING_OF_A_SHARE
        assert theirs[title] == pytest.approx(value, rel=0, abs=tolerance), title


@needs_torch
def test_scores_for_people_are_the_same_numbers() -> None:
    theirs = torch_scores(SAMPLES, REAL, features_named("conv-64"))
    for name, value in score(SAMPLES, REAL, permutations=1).items():
        assert theirs[name] == pytest.approx(value.value, rel=0, abs=ROUNDING_OF_A_SHARE)


@needs_torch
def test_inception_score_agrees_with_torch_fidelity() -> None:
    head = discriminant(features_named("pca-32", TRAINING), TRAINING, digit_labels()[::2])
    theirs = torch_inception_score(SAMPLES, head)
    assert theirs == {"ISC[lda-pca-32]": pytest.approx(inception_score(head(SAMPLES)), rel=1e-12)}


@needs_torch
def test_distance_between_exact_gaussian_moments_is_the_closed_form() -> None:
    """Images whose sample mean and covariance are made to be exactly those of two commuting Gaussians."""
    random, deviations = np.random.default_rng(1), (np.array([1.0, 2.0, 0.5, 3.0]), np.array([1.5, 1.0, 0.5, 2.0]))
    sets = []
    for deviation in deviations:
        rows = random.standard_normal((40, 4))
        rows -= rows.mean(axis=0)
        white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False)).T)
        sets.append((white * deviation).reshape(-1, 1, 2, 2))
    sets[1] = sets[1] + 0.25
    exact = 4 * 0.25**2 + ((deviations[0] - deviations[1]) ** 2).sum()
    assert torch_scores(sets[0], sets[1], PIXELS)["FID[pixels]"] == pytest.approx(exact, abs=1e-9)
    assert ours(sets[0], sets[1], PIXELS)["FID[pixels]"] == pytest.approx(exact, abs=1e-12)


@needs_torch
def test_low_rank_costs_torch_fidelity_digits_and_us_none() -> None:
    """Twenty images span nineteen of 64 directions; roots of rounding errors of 1e-16 are 1e-8."""
    few, fewer = SAMPLES[:20], SAMPLES[20:40]
    found = torch_scores(few, few, PIXELS, neighbours=2)["FID[pixels]"]
    assert abs(found) > 1e-9
    assert frechet_distance(PIXELS(few), PIXELS(few)) < 1e-12
    assert torch_scores(few, fewer, PIXELS)["FID[pixels]"] == pytest.approx(
        frechet_distance(PIXELS(few), PIXELS(fewer)), abs=1e-3
    )


@needs_torch
def test_single_precision_would_be_noticed() -> None:
    """Features rounded to float32 miss the agreement ten times over: it is one in double precision."""
    rounded = Features("float32", lambda images: PIXELS(images).astype(np.float32))
    found = torch_scores(SAMPLES, REAL, rounded)["FID[float32]"]
    assert abs(found - frechet_distance(PIXELS(SAMPLES), PIXELS(REAL))) > 1e-8


@needs_torch
def test_exchanging_the_inputs_exchanges_precision_and_recall() -> None:
    narrow = np.repeat(SAMPLES[:9], 20, axis=0)
    one, other = torch_scores(narrow, REAL, PIXELS), torch_scores(REAL, narrow, PIXELS)
    assert one["precision[pixels]"] == other["recall[pixels]"]
    assert one["recall[pixels]"] == other["precision[pixels]"] < 0.1 < one["precision[pixels]"]
    assert one["FID[pixels]"] == pytest.approx(other["FID[pixels]"], abs=1e-4)


@needs_torch
def test_unknown_options_are_refused_and_not_ignored() -> None:
    with pytest.raises(VerificationError, match="no option prc_neighbourhood and would ignore it"):
        calculate(SAMPLES, REAL, PIXELS, prc=True, prc_neighbourhood=5)


@needs_torch
def test_every_option_that_is_set_exists_and_differs_from_its_default() -> None:
    defaults = sys.modules["torch_fidelity.defaults"].DEFAULTS
    assert {name for name in OPTIONS if defaults[name] != OPTIONS[name]} == set(OPTIONS)


@needs_torch
def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as one about a GPU that is not there
        torch_scores(SAMPLES, REAL, PIXELS)
    assert not list(tmp_path.iterdir())


@needs_torch
def test_documented_traps_are_still_there() -> None:
    """When one is gone, docs/fidelity.md and the bridge have a sentence too many."""
    helpers = sys.modules["torch_fidelity.helpers"]
    torch = sys.modules["torch"]
    assert helpers.text_to_dtype("float64") is torch.float32
    files = importlib.metadata.distribution("torch-fidelity").files or []
    assert "tests" in {Path(str(file)).parts[0] for file in files}
    assert importlib.metadata.version("torch-fidelity") == "0.4.0"


@needs_torch
def test_spread_over_subsets_is_not_the_error_of_kid() -> None:
    """Its standard deviation halves when the subsets are four times as large, on the same images."""
    spreads = [
        calculate(SAMPLES, REAL, PIXELS, kid=True, kid_subsets=60, kid_subset_size=size)[
            "kernel_inception_distance_std"
        ]
        for size in (20, 80)
    ]
    assert spreads[1] < 0.5 * spreads[0]


@pytest.mark.skipif(not (ROOT / "tox.ini").exists(), reason="the source tree is not here")
def test_tox_tries_releases_that_the_extras_allow() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    pins = dict(line.split("==") for line in tox["testenv:fidelity"]["deps"].split() if "==" in line)
    wanted = map(Requirement, [*extras["peers"], *extras["fidelity"]])
    allowed = {each.name: each.specifier for each in wanted}
    assert set(pins) == set(allowed)
    assert all(allowed[name].contains(release) for name, release in pins.items())


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(VerificationError, match="give as many of one as of the other"):
        torch_scores(SAMPLES, REAL[:-1], PIXELS)


@pytest.mark.parametrize("absent", ["torch", "torchvision", "torch_fidelity"])
def test_without_the_library_the_remedy_is_named(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(VerificationError, match=r'pip install "ddpm-bench\[fidelity\]"'):
        torch_fidelity()


def test_torchvision_for_another_torch_is_made_to_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A torchvision that stops as the real one does, on a torch that only records what is declared."""
    declared: dict[str, str] = {}

    class Registry:
        @staticmethod
        def define(name: str, signature: str) -> None:
            declared[name] = signature

    modules: dict[str, Any] = {"torch": type(sys)("torch"), "torch_fidelity": type(sys)("torch_fidelity")}
    modules["torch"].library = Registry
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "half.py").touch()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "from torchvision import half\nraise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert torch_fidelity() is modules["torch_fidelity"]
    assert set(declared) == {"torchvision::nms", "torchvision::qnms"}
    assert "torchvision.half" not in sys.modules
