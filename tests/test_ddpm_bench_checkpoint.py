from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from ddpm_bench import checkpoint
from ddpm_bench.checkpoint import FILE_NAME, GROUPS, Checkpoint, check_fits, load, network, save
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.errors import ConfigError
from ddpm_bench.unet import UNet, preset


def some_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(5)
    rng.random(dtype=np.float32)  # leaves half a 64-bit draw in the generator, which is state, too
    groups = {
        group: {"a.weight": np.full((2, 3), i, np.float32), "b.bias": np.full(1, 0.1 * i, np.float32)}
        for i, group in enumerate(GROUPS)
    }
    return Checkpoint(
        step=2,
        config=TrainConfig(steps=9, network=preset("mnist"), diffusion=DiffusionConfig(num_timesteps=4)),
        data="digits",
        data_digest="0123",
        losses=np.array([1.0, 1 / 3]),
        random_state=dict(rng.bit_generator.state),
        **groups,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(tmp_path / FILE_NAME, some_checkpoint())
    return tmp_path / FILE_NAME


def edited(file: Path, *, drop: str | None = None, **metadata: str) -> Path:
    """The checkpoint at `file` with some metadata replaced, and without what `drop` names."""
    with safe_open(file, framework="np") as opened:
        entries = {key: value for key, value in {**opened.metadata(), **metadata}.items() if key != drop}
        tensors = {name: opened.get_tensor(name) for name in opened.keys() if name != drop}  # noqa: SIM118  # no mapping
    safetensors.numpy.save_file(tensors, file, metadata=entries)
    return file


def test_everything_comes_back_bit_for_bit(file: Path) -> None:
    saved, loaded = some_checkpoint(), load(file)
    for name in ("step", "config", "data", "data_digest", "random_state"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.losses.dtype == np.float64
    assert np.array_equal(loaded.losses, saved.losses)
    for group in GROUPS:
        before, after = getattr(saved, group), getattr(loaded, group)
        assert before.keys() == after.keys()
        for name in before:
            assert after[name].dtype == np.float32
            assert np.array_equal(after[name], before[name])


def test_random_state_continues_the_stream(file: Path) -> None:
    going, back = np.random.default_rng(), np.random.default_rng()
    going.bit_generator.state = some_checkpoint().random_state
    back.bit_generator.state = load(file).random_state
    assert going.random(5, dtype=np.float32).tolist() == back.random(5, dtype=np.float32).tolist()


def test_checkpoint_may_be_read_by_whoever_may_read_other_files(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert file.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_folder_stands_for_the_checkpoint_inside(file: Path) -> None:
    assert load(file.parent).step == 2


def test_writing_that_fails_keeps_the_last_good_checkpoint(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: Any, path: Path, **__: Any) -> None:
        path.write_bytes(file.read_bytes()[:50])
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(ConfigError, match=r"cannot write .*No space left"):
        save(file, replace(some_checkpoint(), data="other"))
    assert load(file).data == "digits"
    assert list(file.parent.iterdir()) == [file]


def test_folder_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        save(tmp_path / "none" / FILE_NAME, some_checkpoint())


@pytest.mark.parametrize("place", ["none.safetensors", "."])
def test_missing_checkpoint_is_a_sentence(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint at .*safetensors: expected the checkpoint"):
        load(tmp_path / place)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.7, 0.9999])
def test_truncated_checkpoint_is_a_sentence(file: Path, keep: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ConfigError, match="is cut short or no safetensors file"):
        load(file)


def test_file_of_another_format_is_a_sentence(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04 a pickle in a zip, as other frameworks write" * 20)
    with pytest.raises(ConfigError, match="is cut short or no safetensors file"):
        load(file)


def test_safetensors_of_another_program_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ConfigError, match="was not written by `ddpm-bench train`"):
        load(path)


def test_unknown_schema_is_a_sentence_with_both_numbers(file: Path) -> None:
    with pytest.raises(ConfigError, match="has checkpoint schema 99, expected 1"):
        load(edited(file, schema="99"))


@pytest.mark.parametrize("drop", ["losses", "step", "random_state", "data_digest"])
def test_checkpoint_with_a_part_missing_names_it(file: Path, drop: str) -> None:
    with pytest.raises(ConfigError, match=f"is damaged .*it has no '{drop}'"):
        load(edited(file, drop=drop))


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"step": "two"}, "two"),
        ({"step": "3"}, "2 losses for 3 steps"),
        ({"config": "{"}, "Expecting"),
        ({"config": json.dumps({"stepz": 3})}, "unknown configuration key 'stepz'"),
        ({"random_state": "]"}, "Expecting"),
    ],
)
def test_checkpoint_that_does_not_hold_together_is_a_sentence(
    file: Path, metadata: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match="is damaged or was changed by another program") as caught:
        load(edited(file, **metadata))
    assert sentence in str(caught.value)


SHAPES = {"a": (2,), "b": (3, 1)}


def test_fitting_weights_pass() -> None:
    check_fits({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, SHAPES)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"b": None}, "it has no tensor b"),
        ({"c": np.zeros(1, np.float32)}, "it has a tensor c"),
        ({"a": np.zeros((2, 1), np.float32)}, r"a is \(2, 1\) float32, expected \(2,\) float32"),
        ({"a": np.zeros(2)}, r"a is \(2,\) float64, expected \(2,\) float32"),
    ],
)
def test_weights_of_another_network_are_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    weights = {**{name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, **changes}
    with pytest.raises(ConfigError, match=f"does not fit this network.*{sentence}"):
        check_fits({name: array for name, array in weights.items() if array is not None}, SHAPES)


def test_network_has_the_weights_given_and_is_not_in_training() -> None:
    config = TrainConfig(network=preset("digits", base_channels=4, groups=2, channel_mult=(1,), attention_at=()))
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(parameter.shape).astype(np.float32)
        for name, parameter in UNet(config.network).parameters_and_names()
    }
    built = network(config, weights)
    assert not built.training
    for name, parameter in built.parameters_and_names():
        assert np.array_equal(parameter.asnumpy(), weights[name])
