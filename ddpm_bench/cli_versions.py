"""The verb `versions`: the same cases under several releases of MindSpore. `cli.py` adds it to the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_bench.cli_clock import REFERENCE, progressing
from ddpm_bench.files import output_folder, replacing
from ddpm_bench.terminal import Folder, complain, mode_option, modes_of, say, sentences_of

if TYPE_CHECKING:
    from benchmarks.builds import Build

CASES = "unet_forward[digits,*] training_step[digits,*]"
"""What is measured unless told otherwise: small enough for half a dozen builds."""


@click.command()
@click.argument("releases", nargs=-1, metavar="[VERSION]...")
@click.option("--python", "named", multiple=True, metavar="LABEL=PATH", help="A further interpreter with MindSpore.")
@click.option("--only", default=CASES, metavar="PATTERN", help="Cases whose id matches.")
@mode_option
@click.option("--pairs", type=click.IntRange(2), help="Workers of each build and case; by default until it is decided.")
@click.option("--effect", default=0.03, help="The slowdown worth knowing, as a fraction.")
@click.option("--budget", type=click.FloatRange(1), metavar="SECONDS", help="Stop measuring after that long.")
@click.option("--out", type=Folder, default=Path("versions"), help="Folder for versions.json and versions.md.")
def versions(
    releases: tuple[str, ...],
    named: tuple[str, ...],
    only: str,
    mode: str,
    pairs: int | None,
    effect: float,
    budget: float | None,
    out: Path,
) -> int:
    """Time the same cases under several MindSpore releases, workers taking turns, and say which step changed what.

    For each VERSION an environment of its own is made once and kept in the user's cache (2.5 GB each). Exit code 1 if
    the newest is slower than the one before it, 3 if that is not decided.
    """
    from benchmarks import cases
    from benchmarks import versions as sweeping
    from benchmarks.measurement import BenchmarkError, write_record

    folder = output_folder(out)
    chosen = cases.select(only)
    if not chosen:
        return complain(f"no case matches {only!r}; see `ddpm-bench bench --list`", 3)
    picks = tuple((case, one) for case in chosen for one in modes_of(mode))
    with sentences_of(BenchmarkError):
        builds = prepared(releases, named)
        with progressing("comparing builds") as on_progress:
            question = sweeping.Question(picks, effect, pairs, budget)
            record = sweeping.sweep(builds, question, reference=REFERENCE, on_progress=on_progress)
        write_record(folder / "versions.json", record)
    text = sweeping.markdown(record, reproducing(releases, only, mode))
    with replacing(folder / "versions.md") as path:
        path.write_text(text, encoding="utf-8")
    print(text)
    print(folder / "versions.md")
    return sweeping.exit_code(record)


def prepared(releases: tuple[str, ...], named: tuple[str, ...]) -> list[Build]:
    """The builds, the oldest release first and the user's own last. Raises `BenchmarkError` for what is none."""
    import platformdirs

    from benchmarks import builds
    from benchmarks.measurement import BenchmarkError

    pairs = [text.partition("=") for text in named]
    wrong = next((text for text, (label, _, path) in zip(named, pairs, strict=True) if not label or not path), None)
    if wrong is not None:
        raise BenchmarkError(
            f"--python {wrong}: give a name and an interpreter, such as nightly=/opt/nightly/bin/python"
        )
    if len(releases) + len(named) < 2:
        raise BenchmarkError("name at least two builds: releases such as 2.7.0 2.10.0, or --python LABEL=PATH")
    folder = platformdirs.user_cache_path("ddpm-bench") / "builds"
    ours = [builds.made(release, folder, tell=say) for release in builds.in_order(releases)]
    return [*ours, *(builds.named(label, Path(path)) for label, _, path in pairs)]


def reproducing(releases: tuple[str, ...], only: str, mode: str) -> str:
    """The command to give to somebody else; their own interpreters are theirs to name."""
    return shlex.join(["ddpm-bench", "versions", *releases, "--only", only, "--mode", mode])
