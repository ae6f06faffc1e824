"""The same scores by torch-fidelity, which most published ones come from; for the extra `fidelity` alone.

    pip install "ddpm-bench[fidelity]"

The features are ours (`fidelity_features.py`), registered with torch-fidelity under their name, so nothing is
downloaded; the scores are computed by its code. What it takes to get the numbers that one believes to get (0.4.0):

* unknown options are ignored without a word: here they are refused;
* `cuda`, `cache` and `verbose` are true by default: without a GPU the first raises, the second answers from a file;
* with `save_cpu_ram=False` it starts worker processes for a few images;
* the option for double precision gives single; our features are double and are passed on as they are;
* its wheel installs a package called `tests`: nothing of ours may be imported by that name.

torch and torch-fidelity are imported when a function is called, and nowhere else in the judge.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from verification.fidelity_features import Features
from verification.protocol import Array, VerificationError

LAYER = "rows"  # the one output of a registered extractor
NAMES = {
    "FID": "frechet_inception_distance",
    "KID": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
}
OPERATORS = dict.fromkeys(("nms", "qnms"), "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
ISC = "inception_score_mean"
OPTIONS = {"cuda": False, "cache": False, "save_cpu_ram": True, "verbose": False, "samples_shuffle": False}


def torch_scores(samples: Array, reference: Array, features: Features, *, neighbours: int = 3) -> dict[str, float]:
    """FID, KID, precision and recall of equally many images (n, C, H, W), by torch-fidelity, named with their features.

    KID is that of all images at once: torch-fidelity's average over one subset, which is the whole set, and therefore
    needs equal numbers. Raises `VerificationError` for unequal ones, or when torch-fidelity is not installed.
    """
    if len(samples) != len(reference):
        raise VerificationError(
            f"{len(samples)} samples and {len(reference)} reference images: torch-fidelity's KID compares subsets of "
            "one size; give as many of one as of the other"
        )
    found = calculate(
        samples,
        reference,
        features,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=1,
        kid_subset_size=len(samples),
        prc_neighborhood=neighbours,
    )
    return {f"{ours}[{features.name}]": float(found[theirs]) for ours, theirs in NAMES.items()}


def torch_inception_score(samples: Array, head: Features) -> dict[str, float]:
    """The Inception score of `samples` (n, C, H, W) with the class scores `head`, by torch-fidelity, without splits."""
    found = calculate(samples, None, head, isc=True, isc_splits=1)
    return {f"ISC[{head.name}]": float(found[ISC])}


def calculate(samples: Array, reference: Array | None, features: Features, **options: Any) -> dict[str, Any]:
    """torch-fidelity's `calculate_metrics`, which gets `features` of the images, in float64, and `OPTIONS`.

    Raises `VerificationError` for an option that it does not know, which it would ignore.
    """
    library = torch_fidelity()
    given: dict[str, Any] = {**OPTIONS, **options}
    known = sys.modules["torch_fidelity.defaults"].DEFAULTS
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise VerificationError(
            f"torch-fidelity has no option {', '.join(unknown)} and would ignore it; it has {sorted(known)}"
        )
    given["input1"] = _data_set(samples)
    if reference is not None:
        given["input2"] = _data_set(reference)
    with _registered(library, features) as name:
        return dict(library.calculate_metrics(**given, feature_extractor=name))


def torch_fidelity() -> ModuleType:
    """The library. Raises `VerificationError` with the remedy if it is not installed."""
    try:
        import torch

        try:
            import torchvision  # noqa: F401 - only to see whether it can be imported
        except RuntimeError:  # "operator torchvision::nms does not exist"
            _declare_operators(torch)
        import torch_fidelity as library
    except ImportError as error:
        raise VerificationError(
            f'torch-fidelity cannot be imported ({error}); run pip install "ddpm-bench[fidelity]"'
        ) from None
    return library  # type: ignore[no-any-return]  # torch-fidelity has no type information


def _declare_operators(torch: Any) -> None:
    """Let a torchvision be imported whose compiled part does not fit this torch: its wheel is for CUDA, torch is not.

    The import stops at describing two operators which that part would have brought. torch-fidelity calls neither (it
    takes image transforms and data sets). Once they are declared, without an implementation, they can be described.
    """
    for operator, signature in OPERATORS.items():
        torch.library.define(f"torchvision::{operator}", signature)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind


@contextlib.contextmanager
def _registered(library: Any, features: Features) -> Iterator[str]:
    """Register `features` as an extractor under their own name, for the length of the block."""
    import torch

    class Extractor(library.FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity has no type information
        """Our features as a torch module: images in, a tuple of one tensor (n, d) out."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (LAYER,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:  # noqa: ARG004 - one layer serves all
            return LAYER

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Any) -> tuple[Any]:
            return (torch.from_numpy(np.ascontiguousarray(features(images.numpy()))),)

    library.register_feature_extractor(features.name, Extractor)  # refuses a name that is taken
    try:
        yield features.name
    finally:
        del sys.modules["torch_fidelity.registry"].FEATURE_EXTRACTORS_REGISTRY[features.name]


def _data_set(images: Array) -> Any:
    """A torch data set of float64 tensors (C, H, W)."""
    import torch

    class Images(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not there when types are checked
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return torch.from_numpy(np.array(images[index], dtype=np.float64))

    return Images()
