"""The verbs `train` and `sample`: those that work on the DDPM alone. `cli.py` adds them to the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_bench.errors import ConfigError
from ddpm_bench.terminal import DEVICES, MODES, File, Folder, prepare, say

if TYPE_CHECKING:
    from ddpm_bench.config import TrainConfig
    from ddpm_bench.data import Dataset

PRESET_OF = {"digits": "digits", "mnist": "mnist", "gaussian": "digits", "mixture": "digits"}
"""The network for data of a known size, where the user names none."""

device_option = click.option("--device", type=click.Choice(DEVICES), default="CPU", help="Where MindSpore computes.")


@click.command()
@click.option("--data", metavar="NAME|DIR", help="digits (default), mnist, gaussian, mixture, or a folder of images.")
@click.option("--preset", metavar="NAME", help="The network; by default the one that fits the data.")
@click.option("--config", "config_file", type=File, help="TOML or JSON file with a run's fields; options win.")
@click.option("--steps", type=int, help="Optimiser steps in all.")
@click.option("--batch-size", type=int, help="Images a step.")
@click.option("--learning-rate", type=float, help="Adam's learning rate.")
@click.option("--seed", type=int, help="Of everything random in the run.")
@click.option("--mode", type=click.Choice(MODES), help="How MindSpore runs the step.")
@device_option
@click.option("--resume", is_flag=True, help="Continue the run in --out, bit for bit; its own settings are used.")
@click.option("--out", type=Folder, required=True, help="Folder for checkpoint, loss curve and grid of samples.")
def train(
    data: str | None,
    preset: str | None,
    config_file: Path | None,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    mode: str | None,
    device: str,
    resume: bool,
    out: Path,
) -> None:
    """Train a DDPM; Ctrl-C leaves a checkpoint to go on from."""
    prepare(device)
    from ddpm_bench import train as training
    from ddpm_bench.progress import shown

    choices: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    choices |= {"seed": seed, "mode": mode}
    run, images = _resumed(out, data, preset, config_file) if resume else _new(data, preset, config_file)
    run = replace(run, **{name: value for name, value in choices.items() if value is not None})
    with shown("training") as report:
        result = training.train(run, images, out, resume=resume, report=report)
    print(f"{result.checkpoint}\n{result.loss_curve}\n{result.grid}")


def _new(data: str | None, preset: str | None, config_file: Path | None) -> tuple[TrainConfig, Dataset]:
    """The run that the options describe, and its images."""
    from ddpm_bench import data as data_module
    from ddpm_bench.config import from_mapping, load_config

    name = data or "digits"
    network = preset or PRESET_OF.get(name)
    if config_file:
        run = load_config(config_file, preset_name=preset)
    elif network is None:
        data_module.load(name)  # a name that is no data at all is the first thing to say
        raise ConfigError(f"the images in {name} fit any network: name one with --preset or --config")
    else:
        run = from_mapping({}, preset_name=network)
    return run, _images(name, run)


def _resumed(out: Path, data: str | None, preset: str | None, config_file: Path | None) -> tuple[TrainConfig, Dataset]:
    """The run in `out` as its checkpoint tells it; a configuration that is given must be the same one."""
    from ddpm_bench import checkpoint
    from ddpm_bench.config import load_config

    saved = checkpoint.load(out / checkpoint.FILE_NAME)
    if preset and not config_file:
        raise ConfigError("--resume goes on with the network of the checkpoint: leave --preset out")
    run = load_config(config_file, preset_name=preset) if config_file else saved.config
    return run, _images(data or saved.data, run)


def _images(name: str, run: TrainConfig) -> Dataset:
    from ddpm_bench import data

    return data.load(name, image_size=run.network.image_size, channels=run.network.in_channels, seed=run.seed)


@click.command()
@click.option("--checkpoint", "checkpoint_file", type=File, required=True, help="What `train` wrote.")
@click.option("--count", default=64, help="Images to make.")
@click.option("--steps", type=int, help="Of the chain.  [default: all]")
@click.option("--sampler", default="ddpm", help="ddpm (ancestral) or ddim (deterministic).")
@click.option("--seed", default=0, help="The same seed gives the same images.")
@device_option
@click.option("--out", type=Folder, required=True, help="Folder for the grid and the images.")
def sample(
    checkpoint_file: Path, count: int, steps: int | None, sampler: str, seed: int, device: str, out: Path
) -> None:
    """Draw images from a trained DDPM."""
    prepare(device)
    from ddpm_bench.generate import generate
    from ddpm_bench.progress import shown

    with shown("sampling") as report:
        made = generate(checkpoint_file, out, count=count, sampler=sampler, steps=steps, seed=seed, report=report)
    say(f"{len(made.files)} images in {made.files[0].parent}")
    print(made.grid)
