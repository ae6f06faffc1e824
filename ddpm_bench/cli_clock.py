"""The verbs `bench`, `compare`, `replay` and `report`: those of the clock. `cli.py` adds them to the command line.

Like there, every verb imports what it needs inside itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_bench import interruption
from ddpm_bench.errors import ConfigError
from ddpm_bench.files import output_files, output_folder
from ddpm_bench.terminal import DEVICES, File, Folder, complain, mode_option, modes_of, say, sentences_of

if TYPE_CHECKING:
    from benchmarks.plans import Plan

REFERENCE = "verification.oracle_network:predict"
"""The network again in float64: the clock holds every timed output against it."""

DTYPES = ("float32", "float16", "bfloat16")
"""Those of `precision.py`, which needs MindSpore."""

JIT_LEVEL = "DDPM_BENCH_JIT_LEVEL"
"""Variable that names graph mode's level (`device.compiled`)."""

Setting = tuple[str, Mapping[str, str | None]]
"""Name and variables; None unsets one."""

Tunings = Mapping[str, Mapping[str, str | None]]
"""Settings by name."""


@click.command()
@click.option("--only", metavar="PATTERN", help='Cases whose id matches, such as "unet_*".')
@click.option("--device", "devices", multiple=True, type=click.Choice(DEVICES), help="May be given again; default all.")
@mode_option
@click.option("--processes", type=click.IntRange(1), help="Fresh processes a cell; more make intervals narrower.")
@click.option("--tuning", type=click.Choice(["tuned", "stock", "both"]), default="tuned", help="MindSpore's setting.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), help="Other batch sizes; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="What networks compute in.")
@click.option("--layers", is_flag=True, help="Also time every part of a forward pass by itself.")
@click.option("--jit-level", "levels", multiple=True, type=click.Choice(["O0", "O1", "O2"]), help="Of graph mode.")
@click.option("--compile-cache", is_flag=True, help="Later processes load what the first compiled: cold and warm.")
@click.option("--quick", is_flag=True, help="Only the small network, at most a minute.")
@click.option("--against", type=Folder, metavar="CHECKOUT", help="Compare with this other checkout, in pairs.")
@click.option("--effect", default=0.03, help="With --against and peers: the slowdown worth knowing, as a fraction.")
@click.option("--budget", type=click.FloatRange(1), metavar="SECONDS", help="Stop after that long.")
@click.option("--self-test", is_flag=True, help="Time the clock: plant slowdowns, see them found and nothing else.")
@click.option("--trials", type=click.IntRange(1), default=3, help="With --self-test: comparisons of each kind.")
@click.option("--json", "json_file", type=File, help="Write the measurements there.")
@click.option("--history", type=Folder, help="Add measurements to the store in this folder, as they come.")
@click.option("--resume", is_flag=True, help="With --history: go on with the last run of this command there.")
@click.option("--list", "list_only", is_flag=True, help="Print the cases and stop.")
def bench(
    only: str | None,
    devices: tuple[str, ...],
    mode: str,
    tuning: str,
    processes: int | None,
    batches: tuple[int, ...],
    dtypes: tuple[str, ...],
    layers: bool,
    levels: tuple[str, ...],
    compile_cache: bool,
    quick: bool,
    against: Path | None,
    effect: float,
    budget: float | None,
    self_test: bool,
    trials: int,
    json_file: Path | None,
    history: Path | None,
    resume: bool,
    list_only: bool,
) -> int:
    """Time the DDPM: forward, training step, reverse step, sampling; fresh processes, gates before numbers.

    With --against CHECKOUT, say whether this code is slower than that: workers of both take turns, pair after pair,
    until every case is decided (exit code 1 if one is slower, 3 if one stays open). FILE then holds this code's
    measurements, and beside it FILE.old.json the other's and FILE.compare.json the verdicts.

    With `--only peers`, say how fast the same network is in PyTorch, in each of its ways: `--only "peers *[digits,*]"`
    chooses the cases. FILE then holds MindSpore's measurements, FILE.peers.json the verdicts, which `report` shows.

    With --history, what was interrupted goes on with --resume: nothing is lost but what was being measured.
    """
    from rich.console import Console

    from benchmarks import peers, plans, selection, summary, terminal
    from benchmarks.measurement import BenchmarkError, write_record
    from ddpm_bench.cli_duel import Asked, compared, peered

    beside = peers.asked(only)
    given = {
        "--dtype": dtypes, "--layers": layers, "--quick": quick, "--against": against, "--self-test": self_test,
        "--resume": resume, "--history": history,
    }  # fmt: skip
    unfit = misfit(given, beside=beside) or (peers.absent() if beside and not list_only else None)
    if unfit:
        return complain(unfit, 3)
    chosen = selection.choose(only, batches=batches, dtypes=dtypes, layers=layers)
    strange = selection.unmatched(only, batches=batches, dtypes=dtypes)
    if strange or not chosen:
        which = f" in {' or '.join(dtypes)}: training and single operators are float32" if dtypes else ""
        batch = selection.batch_of(strange, dtypes)
        advice = f"give --batch {batch}, or see" if batch else "see"
        return complain(f"no case matches {strange or only!r}{which}; {advice} `ddpm-bench bench --list`", 3)
    if list_only:
        print(terminal.listing(chosen))
        return 0
    output_files(json_file)
    if history:
        output_folder(history)
    with sentences_of(BenchmarkError):
        plan = plans.plan(
            chosen if only or batches or dtypes or layers else None,
            devices=devices,
            modes=modes_of(mode),
            processes=processes,
            extent="quick" if quick else "full",
            budget=budget,
            compile_cache=compile_cache,
        )
        tunings = settings(tuning, mode, levels)
        if self_test:
            return self_tested(plan, one_of(tunings), effect, trials, json_file)
        with telling_what_is_kept(history):
            if beside or against:
                asked = Asked(plan, one_of(tunings), effect, processes, json_file, history, resume)
                return compared(asked, against) if against else peered(asked)
            record = timed(plan, tunings, history, resume=resume)
        if json_file:
            write_record(json_file, record)
    console = Console()
    for table in (terminal.table(record), *terminal.explained(record)):
        console.print(table)
    return summary.exit_code(record)


def misfit(given: Mapping[str, object], *, beside: bool) -> str | None:
    """A sentence about the first option of `bench` that is `given` and has no meaning beside the others, if one is."""
    if beside:
        why = "peers are timed by themselves and in float32"
        strange: tuple[str, ...] = ("--dtype", "--layers", "--quick", "--against", "--self-test")
    else:
        why = "a self-test compares this code with itself and is not stored"
        strange = ("--resume", "--history", "--against") if given["--self-test"] else ()
    option = next((option for option in strange if given[option]), None)
    if option:
        return f"{why}: leave out {option}"
    if given["--resume"] and not given["--history"]:
        return "--resume goes on with what `bench --history` stored: give --history as before"
    return None


@contextlib.contextmanager
def telling_what_is_kept(history: Path | None) -> Iterator[None]:
    """In the block, an interruption says what becomes of what was measured."""
    lost = "interrupted, and what was measured is lost: with --history it is kept as it comes"
    kept = f"interrupted: what was measured is kept in {history}, and the same command with --resume goes on"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept if history else lost) from None


def self_tested(plan: Plan, setting: Setting, effect: float, trials: int, json_file: Path | None) -> int:
    """Plant slowdowns and none in the first case of the plan and print which were noticed; 4 if the clock errs."""
    from benchmarks import proof
    from benchmarks.measurement import write_record

    name, variables = setting
    case, mode = plan.picks[0]

    def keep(record: dict[str, Any]) -> None:
        interruption.check()
        if json_file:
            write_record(json_file, record)

    with progressing("planting slowdowns") as on_progress:
        question = proof.Question(case, mode, variables, name, effect)
        record = proof.prove(question, trials, reference=REFERENCE, on_progress=on_progress, on_trial=keep)
    print("\n".join(proof.lines(record)))
    return proof.exit_code(record)


def settings(tuning: str, mode: str = "both", levels: tuple[str, ...] = ()) -> Tunings:
    """The variables of every setting to measure under, by name: each tuning, at each of graph mode's `levels`.

    Raises `ConfigError` for levels in another mode.
    """
    from ddpm_bench import operators

    if levels and mode != "graph":
        raise ConfigError("--jit-level is of graph mode only: give --mode graph with it")
    known = operators.settings(tuning, say)
    if not levels:
        return known
    return {
        f"{name}, {level}": {**variables, JIT_LEVEL: level} for name, variables in known.items() for level in levels
    }


def one_of(tunings: Tunings) -> Setting:
    """The name and the variables of the only setting. Raises `ConfigError` where there are several."""
    if len(tunings) > 1:
        raise ConfigError(
            f"a comparison runs under one setting, not {len(tunings)}: give --tuning tuned or --tuning stock, and "
            "--jit-level once"
        )
    (setting,) = tunings.items()
    return setting


@contextlib.contextmanager
def progressing(job: str) -> Iterator[Callable[[int, int, float, str], None]]:
    """A progress bar for the clock: yields what it calls with work done, work in all, seconds left and what runs."""
    from ddpm_bench.progress import Progress, shown

    with shown(job) as report:
        yield lambda done, total, left, _: report(Progress(done, total, left))


def timed(plan: Plan, tunings: Tunings, history: Path | None = None, *, resume: bool = False) -> dict[str, Any]:
    """The record of a run of the clock, with a progress bar; what a worker delivers is stored at once."""
    from benchmarks import history as store
    from benchmarks import runner
    from benchmarks.resume import find_sweep

    def keep(record: dict[str, Any]) -> None:
        interruption.check()
        if history:
            store.append(history, record)

    earlier = find_sweep(history, plan.as_record(tunings)) if resume and history else None
    if resume:
        say(earlier.prospect if earlier else "nothing of this run is stored: starting it")
    with progressing("timing") as on_progress:
        record = runner.run(
            plan, reference=REFERENCE, tunings=tunings, on_progress=on_progress, on_rows=keep, earlier=earlier
        )
    if history:
        say(f"kept in {history}")
    return record


@click.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@click.option("--effect", default=0.03, help="The slowdown worth knowing, as a fraction.")
@click.option("--json", "json_file", type=File, help="Write the verdicts there.")
@click.option("--junit", type=File, help="Write JUnit XML there: slower fails, inconclusive is skipped.")
@click.option("--github", is_flag=True, help="Print annotations for a GitHub workflow as well.")
def compare(old: Path, new: Path, effect: float, json_file: Path | None, junit: Path | None, github: bool) -> int:
    """Say for each case of two bench records whether it became slower, with the interval."""
    from benchmarks import announce, terminal
    from benchmarks import compare as comparison
    from benchmarks.measurement import BenchmarkError, read_record, write_record

    output_files(json_file, junit)
    with sentences_of(BenchmarkError):
        record = comparison.compare_records(read_record(old), read_record(new), effect)
    print("\n".join([*terminal.verdicts(record), *(announce.github(record) if github else ())]))
    with sentences_of(BenchmarkError):
        if json_file:
            write_record(json_file, record)
        if junit:
            announce.write_junit(junit, announce.junit(record))
    return comparison.exit_code(record)


@click.command()
@click.argument("history", type=click.Path(path_type=Path))
@click.option("--effect", type=float, help="The threshold to try, as a fraction. [default: 0.03, or the trial's]")
@click.option("--resamples", type=click.IntRange(1), default=1000, help="Comparisons drawn from recorded noise.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Which processes are drawn follows from it.")
@click.option("--json", "json_file", type=File, help="Write the record there.")
def replay(history: Path, effect: float | None, resamples: int, seed: int, json_file: Path | None) -> int:
    """Say what a threshold would have flagged in HISTORY, and how it fares on the noise recorded there.

    HISTORY is a folder of `bench --history`, or a file of `bench --self-test --json`, compressed by gzip or not. Of the
    latter, tables show what pytest-benchmark and asv would need to be as sure on the same noise.
    """
    from benchmarks import history as store
    from benchmarks import replay as replays
    from benchmarks.measurement import BenchmarkError, read_record, write_record

    output_files(json_file)
    with sentences_of(BenchmarkError):
        if history.is_dir():
            stored = store.read(history)
            record = replays.replay(stored.records, 0.03 if effect is None else effect, resamples=resamples, seed=seed)
            notes = stored.notes
        else:
            proof = read_record(history, kind="proof")
            record, notes = replays.replay_proof(proof, effect, resamples=resamples, seed=seed), []
        if json_file:
            write_record(json_file, record)
    print("\n".join([*notes, *replays.lines(record)]))
    return replays.exit_code(record)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", "html_file", type=File, help="Write the page there.")
@click.option("--markdown", "markdown_file", type=File, help="Write Markdown there.")
@click.option("--csv", "csv_file", type=File, help="Write the timings there, one row a process.")
@click.option(
    "--pytest-benchmark", "export_file", type=File, help="Write measurements as pytest-benchmark's JSON there."
)
def report(
    files: tuple[Path, ...],
    html_file: Path | None,
    markdown_file: Path | None,
    csv_file: Path | None,
    export_file: Path | None,
) -> int:
    """Make one page of what verify, bench, compare and doctor wrote; Markdown to standard output by default.

    FILES are such files, and folders that `bench --history` fills: the page then shows how the times changed.
    """
    from benchmarks import report as pages
    from benchmarks.measurement import BenchmarkError, write_record

    with sentences_of(BenchmarkError):
        content = pages.read(files)
        output_files(html_file, markdown_file, csv_file, export_file)
        if export_file and content.bench is None:
            return complain("no measurements were given for --pytest-benchmark: name a file that bench wrote", 2)
        if html_file:
            pages.write(html_file, pages.html(content))
        if markdown_file:
            pages.write(markdown_file, pages.markdown(content))
        if csv_file:
            pages.write(csv_file, pages.table(content))
        if export_file and content.bench:
            from benchmarks import export  # it needs pytest-benchmark, and a page does not

            write_record(export_file, export.pytest_benchmark_json(content.bench))
    if not (html_file or markdown_file or csv_file or export_file):
        print(pages.markdown(content), end="")
    return 0
