from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ddpm_bench.config import DiffusionConfig, TrainConfig, as_mapping, difference, from_mapping, load_config
from ddpm_bench.errors import ConfigError
from ddpm_bench.unet import preset


def written(tmp_path: Path, text: str, name: str = "run.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        steps = 7
        learning_rate = 1
        mode = "pynative"
        [network]
        preset = "mnist"
        base_channels = 16
        channel_mult = [1, 2, 4]
        [diffusion]
        schedule = "cosine"
        clip_x_0 = false
        """,
    )
    assert load_config(path) == TrainConfig(
        steps=7,
        learning_rate=1.0,
        mode="pynative",
        network=preset("mnist", base_channels=16, channel_mult=(1, 2, 4)),
        diffusion=DiffusionConfig(schedule="cosine", clip_x_0=False),
    )


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    content = {"steps": 7, "network": {"dropout": 0.25, "attention_at": []}, "diffusion": {"num_timesteps": 10}}
    toml = "steps = 7\n[network]\ndropout = 0.25\nattention_at = []\n[diffusion]\nnum_timesteps = 10\n"
    from_json = load_config(written(tmp_path, json.dumps(content), "run.json"))
    assert from_json == load_config(written(tmp_path, toml))
    assert from_json.network.dropout == 0.25


def test_empty_file_is_the_default_run(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == TrainConfig()


def test_preset_from_outside_is_the_network_where_the_file_names_none(tmp_path: Path) -> None:
    path = written(tmp_path, "[network]\nblocks_per_level = 3\n")
    assert load_config(path, preset_name="mnist").network == preset("mnist", blocks_per_level=3)


def test_two_different_presets_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[network]\npreset = "mnist"\n')
    with pytest.raises(ConfigError, match=r"run\.toml: .*'digits' but the configuration says 'mnist': name one"):
        load_config(path, preset_name="digits")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stpes = 7", "unknown configuration key 'stpes': did you mean steps"),
        ("[netwrok]\ngroups = 4", "unknown configuration key 'netwrok': did you mean network"),
        ("[network]\ndrop_out = 0.1", "unknown configuration key 'drop_out': did you mean dropout"),
        ("[network]\npresett = 'digits'", "unknown configuration key 'presett': did you mean preset"),
        ("[network]\npreset = 'digit'", "unknown preset 'digit': did you mean digits"),
        ("[network]\npreset = 3", "preset is 3, expected a string"),
        ("[diffusion]\nshedule = 'linear'", "unknown configuration key 'shedule': did you mean schedule"),
        ("[diffusion]\nschedule = 'linaer'", "unknown schedule 'linaer': did you mean linear"),
        ("[diffusion]\nvariance = 'beat'", "unknown variance 'beat': did you mean beta"),
        ("[diffusion]\nnum_timesteps = 0", "0"),
        ("[diffusion]\nclip_x_0 = 1", "clip_x_0 is 1, expected true or false"),
        ("network = 3", "network is 3, expected a table"),
        ("steps = 'many'", "steps is 'many', expected an integer"),
        ("steps = true", "steps is True, expected an integer"),
        ("steps = 2.0", "steps is 2.0, expected an integer"),
        ("steps = 0", "steps is 0, expected at least 1"),
        ("batch_size = 0", "batch_size is 0, expected at least 1"),
        ("checkpoint_every = 0", "checkpoint_every is 0, expected at least 1"),
        ("seed = -1", "seed is -1, expected at least 0"),
        ("learning_rate = '1e-3'", "learning_rate is '1e-3', expected a number"),
        ("learning_rate = 0", "learning_rate is 0.0, expected a positive finite number"),
        ("learning_rate = nan", "learning_rate is nan, expected a positive finite number"),
        ("clip_norm = inf", "clip_norm is inf, expected a positive finite number"),
        ("ema_decay = 1", "ema_decay is 1.0, expected at least 0 and less than 1"),
        ("mode = 'grahp'", "unknown mode 'grahp': did you mean graph"),
        ("[network]\nchannel_mult = 2", "channel_mult is 2, expected"),
        ("[network]\nchannel_mult = [1, 'x']", "an entry of channel_mult is 'x', expected an integer"),
        ("[network]\nimage_size = 9", "9"),
        ("steps =", "is not TOML"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_with_the_files_name(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_json_that_is_no_table_is_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.json"):
        load_config(written(tmp_path, text, "run.json"))


def test_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.toml: No such file"):
        load_config(tmp_path / "none.toml")


def test_file_that_is_not_text_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(path)


def test_mapping_survives_json_and_becomes_the_same_run() -> None:
    config = TrainConfig(
        steps=3, network=preset("mnist", dropout=0.5), diffusion=DiffusionConfig(num_timesteps=7, beta_end=0.1)
    )
    assert from_mapping(json.loads(json.dumps(as_mapping(config)))) == config


def test_difference_names_the_field_and_both_values() -> None:
    config = TrainConfig()
    assert difference(config, config) is None
    assert difference(replace(config, batch_size=3), config) == "batch_size is 3 and was 64"
    other = replace(config, diffusion=replace(config.diffusion, schedule="cosine"))
    assert difference(other, config) == "diffusion.schedule is cosine and was linear"


def test_difference_passes_over_the_fields_it_is_told_to() -> None:
    assert difference(TrainConfig(steps=3), TrainConfig(), ignore=("steps",)) is None
    assert difference(TrainConfig(steps=3, seed=1), TrainConfig(), ignore=("steps",)) == "seed is 1 and was 0"
