"""The verb `versions`: the same cases under several releases of MindSpore. `cli.py` adds it to the command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_bench import interruption, kernel_record
from ddpm_bench.cli_clock import REFERENCE, progressing
from ddpm_bench.files import output_files, output_folder
from ddpm_bench.terminal import File, Folder, complain, mode_option, modes_of, say, sentences_of

if TYPE_CHECKING:
    from benchmarks.builds import Build
    from benchmarks.cases import Case
    from benchmarks.versions import Question


@click.command()
@click.argument("releases", nargs=-1, metavar="[VERSION]...")
@click.option("--python", "named", multiple=True, metavar="LABEL=PATH", help="A further interpreter with MindSpore.")
@click.option(
    "--only",
    metavar="PATTERN",
    help="Cases whose id matches. [default: digits; forward in both modes, training compiled]",
)
@mode_option
@click.option(
    "--layers/--no-layers", default=True, help="Time the parts of forward passes, too, to say what made a step."
)
@click.option("--verify/--no-verify", default=True, help="Judge the DDPM under every build, too.")
@click.option("--ledger/--no-ledger", default=True, help="Measure how accurate every build's operators are, too.")
@click.option("--remedies/--no-remedies", default=True, help="Try what is known to help on builds that became slower.")
@click.option(
    "--pairs",
    type=click.IntRange(7, 27),
    default=8,
    show_default=True,
    help="The most workers of a build and case, for steps that fewer do not decide; those in the store count.",
)
@click.option("--until-decided", is_flag=True, help="The same as --pairs 27.")
@click.option("--effect", default=0.03, help="The slowdown worth knowing, as a fraction.")
@click.option("--budget", type=click.FloatRange(1), metavar="SECONDS", help="Stop measuring after that long.")
@click.option("--out", type=Folder, default=Path("versions"), help="Folder for versions.html, .md, .json and store.")
@click.option("--history", type=Folder, help="Keep what is measured in this store. [default: OUT/store]")
@click.option("--again", is_flag=True, help="Measure anew what the store holds of this very sweep.")
@click.option("--junit", type=File, help="Write JUnit XML there: slower or changed fails, undecided is skipped.")
@click.option("--github", is_flag=True, help="Print annotations for a GitHub workflow as well.")
def versions(
    releases: tuple[str, ...],
    named: tuple[str, ...],
    only: str | None,
    mode: str,
    layers: bool,
    verify: bool,
    ledger: bool,
    remedies: bool,
    pairs: int,
    until_decided: bool,
    effect: float,
    budget: float | None,
    out: Path,
    history: Path | None,
    again: bool,
    junit: Path | None,
    github: bool,
) -> int:
    """Time the same cases under several MindSpore releases, workers taking turns, and say which step changed what.

    For each VERSION an environment of its own is made once and kept in the user's cache (2.5 GB each). What was
    measured is stored row by row: the same command goes on with it, whatever ended it, and measures nothing twice. Exit
    code 1 if the newest is slower than the one before it or its numbers changed beyond rounding, 3 if undecided.
    """
    from benchmarks import announce, announce_versions, builds, report, selection, versions_page, versions_text
    from benchmarks import versions as sweeping
    from benchmarks.looks import LOOKS
    from benchmarks.measurement import BenchmarkError, write_record

    picks = picked(only, modes_of(mode), layers=layers)
    strange = selection.unmatched(only)
    if strange or not picks:
        return complain(f"no case matches {strange or only!r}; see `ddpm-bench bench --list`", 3)
    with sentences_of(BenchmarkError):
        brought = own(named, beside=len(builds.in_order(releases)))
    folder = output_folder(out)  # not before: a command that is wrong leaves nothing behind
    output_files(junit)
    question = sweeping.Question(
        picks, effect, LOOKS[-1] if until_decided else pairs, budget, verify, kernel_record.changes if ledger else None,
        known_remedies() if remedies else {},
    )  # fmt: skip
    keeping = sweeping.Keeping(history or folder / "store", again, say, interruption.check)
    with sentences_of(BenchmarkError):
        compared = [*installed(releases), *brought]
        with progressing("comparing builds") as on_progress:
            found = sweeping.sweep(compared, question, reference=REFERENCE, keeping=keeping, on_progress=on_progress)
        record = {**found, "command": reproducing(releases, named, question, only, mode, layers=layers)}
        write_record(folder / "versions.json", record)
        report.write(folder / "versions.html", versions_page.html(record))
        report.write(folder / "versions.md", versions_text.markdown(record))
        if junit:
            announce.write_junit(junit, announce_versions.junit(record))
    print(versions_text.markdown(record))
    print("\n".join([*(announce_versions.github(record) if github else ()), str(folder / "versions.html")]))
    return sweeping.exit_code(record)


def picked(only: str | None, modes: Sequence[str], *, layers: bool) -> tuple[tuple[Case, str], ...]:
    """The cases with the mode each runs in; with `layers` the parts of the forward passes among them come last.

    Of parts the first mode is enough: they explain, and are many.
    """
    from benchmarks import plans, selection
    from benchmarks.layer_times import wanted

    chosen = selection.choose(only) if only else ()
    whole = [(case, mode) for case in chosen for mode in modes]
    whole = whole if only else [(case, mode) for case, mode in plans.VERSIONS if mode in modes]
    parts = wanted(case for case, _ in whole) if layers else ()
    known = {case.id for case, _ in whole}
    return (*whole, *((part, modes[0]) for part in parts if part.id not in known))


def known_remedies() -> dict[str, dict[str, str]]:
    """What `doctor` knows to cure a slow build by, by the variables that say it."""
    from ddpm_bench import remedy

    return {f"{remedy.VARIABLE}={remedy.VALUE}": {remedy.VARIABLE: remedy.VALUE}}


def own(named: tuple[str, ...], *, beside: int) -> list[Build]:
    """The user's own builds, of LABEL=PATH each, looked at `beside` so many releases that nothing is installed for yet.

    Raises `BenchmarkError` for a text that is none, and where there are not two builds to compare.
    """
    from benchmarks import builds, errand
    from benchmarks.measurement import BenchmarkError

    pairs = [text.partition("=") for text in named]
    wrong = next((text for text, (label, _, path) in zip(named, pairs, strict=True) if not label or not path), None)
    if wrong is not None:
        raise BenchmarkError(
            f"--python {wrong}: give a name and an interpreter, such as nightly=/opt/nightly/bin/python"
        )
    if beside + len(named) < 2:
        raise BenchmarkError("name at least two builds: releases such as 2.7.0 2.10.0, or --python LABEL=PATH")
    brought = errand.together(partial(builds.named, label, Path(path)) for label, _, path in pairs)
    unusable = [f"{build.label} ({build.reason})" for build in brought if build.reason is not None]
    if beside + len(brought) - len(unusable) < 2:
        raise BenchmarkError(f"a comparison needs two builds, and {', '.join(unusable)} cannot be used")
    return brought


def installed(releases: tuple[str, ...]) -> list[Build]:
    """The builds of the `releases`, the oldest first, each made once and kept in the user's cache."""
    import platformdirs

    from benchmarks import builds, errand

    folder = platformdirs.user_cache_path("ddpm-bench") / "builds"
    return errand.together(partial(builds.made, release, folder, tell=say) for release in builds.in_order(releases))


def reproducing(
    releases: tuple[str, ...], named: tuple[str, ...], question: Question, only: str | None, mode: str, *, layers: bool
) -> str:
    """The command to give to somebody else; where they have the interpreters that were named is theirs to say."""
    own = [f"--python={text.partition('=')[0]}=PATH" for text in named]
    asked = [*releases, *own, *(["--only", only] if only else []), "--mode", mode, "--effect", f"{question.effect:g}"]
    asked += ["--pairs", str(question.pairs)]
    asked += [] if layers else ["--no-layers"]
    asked += [] if question.verify else ["--no-verify"]
    asked += [] if question.changes else ["--no-ledger"]
    asked += [] if question.remedies else ["--no-remedies"]
    asked += ["--budget", f"{question.budget:g}"] if question.budget else []
    return shlex.join(["ddpm-bench", "versions", *asked])
