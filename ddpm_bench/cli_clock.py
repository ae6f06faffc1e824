"""The verbs `bench`, `compare` and `report`: those of the clock. `cli.py` adds them to the command line.

Like there, every verb imports what it needs inside itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_bench.files import output_files, output_folder
from ddpm_bench.terminal import DEVICES, File, Folder, complain, mode_option, modes_of, say, sentences_of

if TYPE_CHECKING:
    from benchmarks.runner import Plan

REFERENCE = "verification.oracle_network:predict"
"""The network again in float64: the clock holds every timed output against it."""


@click.command()
@click.option("--only", metavar="PATTERN", help='Cases whose id matches, such as "unet_*".')
@click.option("--device", "devices", multiple=True, type=click.Choice(DEVICES), help="May be given again; default all.")
@mode_option
@click.option("--processes", type=click.IntRange(1), help="Fresh processes a cell; more make intervals narrower.")
@click.option("--tuning", type=click.Choice(["tuned", "stock", "both"]), default="tuned", help="MindSpore's setting.")
@click.option("--quick", is_flag=True, help="Only the small network, at most a minute.")
@click.option("--json", "json_file", type=File, help="Write the measurements there.")
@click.option("--history", type=Folder, help="Add the measurements to the store in this folder.")
@click.option("--list", "list_only", is_flag=True, help="Print the cases and stop.")
def bench(
    only: str | None,
    devices: tuple[str, ...],
    mode: str,
    tuning: str,
    processes: int | None,
    quick: bool,
    json_file: Path | None,
    history: Path | None,
    list_only: bool,
) -> int:
    """Time the DDPM: forward, training step, reverse step, sampling; fresh processes, gates before numbers."""
    from rich.console import Console

    from benchmarks import cases, runner, summary, terminal
    from benchmarks import history as store
    from benchmarks.measurement import BenchmarkError, write_record

    chosen = cases.select(only)
    if not chosen:
        return complain(f"no case matches {only!r}; see `ddpm-bench bench --list`", 3)
    if list_only:
        print(terminal.listing(chosen))
        return 0
    with sentences_of(BenchmarkError):
        plan = runner.plan(
            chosen if only else None,
            devices=devices,
            modes=modes_of(mode),
            processes=processes,
            extent="quick" if quick else "full",
        )
        output_files(json_file)
        if history:
            output_folder(history)
        record = timed(plan, tuning)
        if json_file:
            write_record(json_file, record)
        if history:
            say(f"added to {store.append(history, record)}")
    Console().print(terminal.table(record))
    return summary.exit_code(record)


def timed(plan: Plan, tuning: str) -> dict[str, Any]:
    """The record of a run of the clock, with a progress bar."""
    from benchmarks import runner
    from ddpm_bench import remedy
    from ddpm_bench.progress import Progress, shown

    with shown("timing") as report:

        def note(done: int, total: int, left: float, _: str) -> None:
            report(Progress(done, total, left))

        return runner.run(plan, reference=REFERENCE, tunings=remedy.settings(tuning, say), on_progress=note)


@click.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@click.option("--effect", default=0.03, help="The slowdown worth knowing, as a fraction.")
@click.option("--json", "json_file", type=File, help="Write the verdicts there.")
def compare(old: Path, new: Path, effect: float, json_file: Path | None) -> int:
    """Say for each case of two bench records whether it became slower, with the interval."""
    from benchmarks import compare as comparison
    from benchmarks import terminal
    from benchmarks.measurement import BenchmarkError, read_record, write_record

    output_files(json_file)
    with sentences_of(BenchmarkError):
        record = comparison.compare_records(read_record(old), read_record(new), effect)
    print("\n".join(terminal.verdicts(record)))
    if json_file:
        with sentences_of(BenchmarkError):
            write_record(json_file, record)
    return comparison.exit_code(record)


@click.command()
@click.argument("files", nargs=-1, required=True, type=File)
@click.option("--html", "html_file", type=File, help="Write the page there.")
@click.option("--markdown", "markdown_file", type=File, help="Write Markdown there.")
def report(files: tuple[Path, ...], html_file: Path | None, markdown_file: Path | None) -> int:
    """Make one page of what verify, bench, compare and doctor wrote; Markdown to standard output by default."""
    from benchmarks import report as pages
    from benchmarks.measurement import BenchmarkError

    with sentences_of(BenchmarkError):
        content = pages.read(files)
        output_files(html_file, markdown_file)
        if html_file:
            pages.write(html_file, pages.html(content))
        if markdown_file:
            pages.write(markdown_file, pages.markdown(content))
    if not html_file and not markdown_file:
        print(pages.markdown(content), end="")
    return 0
