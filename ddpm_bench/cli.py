"""The command line `ddpm-bench`: the one place where the subject, the judge and the clock meet.

Every verb imports what it needs inside itself, so `--help`, `compare` and `report` work without MindSpore.
Exit codes: 0 all good; 1 a check failed or a case regressed; 2 wrong usage or bad input; 3 inconclusive, or nothing was
tested or compared; 130 interrupted. A mistake of the user is one sentence on stderr, never a traceback.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_bench import interruption
from ddpm_bench.cli_outcome import outcome
from ddpm_bench.cli_training import sample, train
from ddpm_bench.errors import ConfigError
from ddpm_bench.files import output_files, output_folder
from ddpm_bench.terminal import DEVICES, MODES, File, Folder, complain, prepare, say, tinted

if TYPE_CHECKING:
    from benchmarks.cases import Case
    from benchmarks.runner import Plan
    from ddpm_bench.doctor_record import Diagnosis
    from verification.check import Check, Finding
    from verification.known_failures import KnownFailures
    from verification.protocol import Subject

OWN = "ddpm_bench.subject:MindSporeSubject"
"""What `verify` judges unless told otherwise."""

REFERENCE = "verification.oracle_network:predict"
"""The network again in float64: the clock holds every timed output against it."""


@click.group(
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
)
@click.version_option(package_name="ddpm-bench")
def cli() -> None:
    """A DDPM on MindSpore, a judge that checks it and a clock that times it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the script: runs `arguments` (by default the process's) and exits with the documented code."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """The exit code of `ddpm-bench ARGUMENTS`; every expected error ends as one sentence on stderr."""

    def run() -> object:
        rooms_stand_together()
        return cli.main(arguments, prog_name="ddpm-bench", standalone_mode=False)

    return outcome(run)


def rooms_stand_together() -> None:
    """Raise `ConfigError` unless judge and clock would come from beside this package and not from somewhere else."""
    here = Path(__file__).resolve().parent.parent
    for room in ("verification", "benchmarks"):
        spec = importlib.util.find_spec(room)
        found = Path(str(spec.origin)).resolve().parent.parent if spec and spec.origin else None
        if found != here:
            raise ConfigError(
                f"the package `{room}` would come from {found} and not from {here}, where ddpm-bench is installed: "
                f"another package of that name is in the way; use an environment of its own"
            )


@contextlib.contextmanager
def sentences_of(*errors: type[Exception]) -> Iterator[None]:
    """Errors of the judge's and the clock's own kind, inside the block, become this program's."""
    try:
        yield
    except errors as error:
        raise ConfigError(str(error)) from None


def modes_of(choice: str) -> tuple[str, ...]:
    """The execution modes that `--mode` names."""
    return MODES if choice == "both" else (choice,)


mode_option = click.option(
    "--mode", type=click.Choice([*MODES, "both"]), default="both", help="How MindSpore runs the code."
)


@cli.command()
@click.option("--json", "json_file", type=File, help="Also write what was found there.")
@click.option(
    "--kernels", "ledger_file", type=File, help="Also measure how accurate operators are; FILE keeps history."
)
def doctor(json_file: Path | None, ledger_file: Path | None) -> int:
    """Probe this machine and its MindSpore for known traps, and print the remedy for each."""
    from rich.console import Console

    from benchmarks.measurement import BenchmarkError, write_record
    from ddpm_bench import kernel_record
    from ddpm_bench.doctor_record import table

    output_files(json_file, ledger_file)
    ledger = kernel_record.read(ledger_file) if ledger_file else None
    record, diagnoses = diagnosed()
    Console().print(table(diagnoses))
    if json_file:
        with sentences_of(BenchmarkError):
            write_record(json_file, record)
    broken = any(diagnosis.severity == "broken" for diagnosis in diagnoses)
    return 1 if broken else measure_kernels(ledger_file, ledger) if ledger_file else 0


def measure_kernels(file: Path, before: dict[str, Any] | None) -> int:
    """Measure every kernel, print what it does and what changed since the record `before`, and write it to `file`.

    1 if a kernel is worse than the ledger by which the judge allows for errors, else 0.
    """
    from ddpm_bench import kernel_record
    from verification.kernel_ledger import beyond

    ledger = kernel_record.measured(before, environment(), tell=say)
    kernel_record.write(file, ledger)
    worse = beyond(ledger["kernels"])
    print("\n".join(kernel_record.lines(ledger, worse)))
    return int(bool(worse))


def diagnosed() -> tuple[dict[str, Any], list[Diagnosis]]:
    """What the doctor finds, as a record and as it is."""
    from ddpm_bench.doctor import diagnose
    from ddpm_bench.doctor_record import record

    diagnoses = diagnose(lambda step: say(f"probing: {step}"))
    return record(diagnoses) | {"environment": environment()}, diagnoses


@cli.command()
@click.option("--subject", default=OWN, metavar="MODULE:FACTORY", help="The DDPM to judge.")
@mode_option
@click.option("--tier", type=click.Choice(["quick", "full"]), default="quick", help="How much is checked.")
@click.option("--only", default="*", metavar="PATTERN", help='Checks whose id matches, such as "FWD-*".')
@click.option("--known-failures", type=File, help="TOML file of failures that are known, with their reasons.")
@click.option("--json", "json_file", type=File, help="Write the findings there.")
@click.option("--junit", "junit_file", type=File, help="Write JUnit XML there, one test a finding.")
@click.option("--list", "list_only", is_flag=True, help="Print the checks and stop.")
def verify(
    subject: str,
    mode: str,
    tier: str,
    only: str,
    known_failures: Path | None,
    json_file: Path | None,
    junit_file: Path | None,
    list_only: bool,
) -> int:
    """Check a DDPM against mathematics derived another way; by default this one."""
    from verification import check, report
    from verification import known_failures as known
    from verification.protocol import VerificationError

    with sentences_of(VerificationError):
        checks = check.select(tier, only)
        if not checks:
            return complain(f"no check of tier {tier} matches {only!r}; see `ddpm-bench verify --list`", 3)
        if list_only:
            return list_checks(checks)
        output_files(json_file, junit_file)
        expected = known.load_known_failures(known_failures) if known_failures else None
        findings, subjects = judged(subject, mode, checks, expected)
        if json_file:
            report.write_json(json_file, record_of(findings, subjects, tier))
        if junit_file:
            report.write_junit(junit_file, findings)
    return conclude(subject, findings)


def list_checks(checks: Sequence[Check]) -> int:
    """Print what each check claims, and where the claim is from."""
    for each in checks:
        print(f"{each.id:18} L{each.level}  {each.claim} ({each.source})")
    print(f"{len(checks)} checks")
    return 0


def judged(
    subject: str, mode: str, checks: Sequence[Check], known: KnownFailures | None
) -> tuple[list[Finding], list[Subject]]:
    """The findings of `checks` on every subject that `subject` and `mode` name, and those subjects."""
    from ddpm_bench.progress import Pace, shown
    from verification.check import run_checks
    from verification.plan import plan
    from verification.protocol import gate_specs

    if subject == OWN:
        prepare()
        from ddpm_bench.device import silence_recompilations

        silence_recompilations()
    planned = plan(gate_specs(subject, mode=mode), checks)
    findings: list[Finding] = []
    subjects: list[Subject] = []
    with shown("judging") as report:
        pace = Pace(report, sum(len(chosen) for _, chosen in planned))

        def note(finding: Finding) -> None:
            findings.append(finding)
            pace.at(len(findings))
            interruption.check()

        for spec, chosen in planned:
            subjects.append(spec.make())
            run_checks(subjects[-1], chosen, known_failures=known, on_finding=note, spec=spec.text)
    return findings, subjects


def conclude(subject: str, findings: Sequence[Finding]) -> int:
    """Print what did not pass and a summary; return the exit code.

    This project's own DDPM has every method, so a check skipped on it counts as failed.
    """
    from verification import overview
    from verification.report import exit_code, sentence, summary

    for finding in findings:
        if finding.status not in ("passed", "skipped"):
            colour = "red" if finding.status in overview.FAILING else "yellow"
            print(f"{tinted(finding.status.upper(), colour)} {finding.check} on {finding.subject}: {sentence(finding)}")
            print(f"    {finding.reproduce}")
            print()
    print("\n".join(overview.lines(findings)))
    print(tinted(summary(findings), "green" if exit_code(findings) == 0 else "red"))
    skipped = subject == OWN and any(finding.status == "skipped" for finding in findings)
    return max(exit_code(findings), int(skipped)) if exit_code(findings) != 3 else 3


def record_of(findings: Sequence[Finding], subjects: Sequence[Subject], tier: str) -> dict[str, Any]:
    """The verification record of this run."""
    from verification.report import record

    return record(findings, subjects, tier=tier, environment=environment())


def environment() -> dict[str, str | int]:
    """What numbers depend on here, for a record."""
    from benchmarks.environment import collect

    return collect()


@cli.command()
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
    from benchmarks import cases, runner
    from benchmarks import history as store
    from benchmarks.measurement import BenchmarkError, write_record

    chosen = cases.select(only)
    if not chosen:
        return complain(f"no case matches {only!r}; see `ddpm-bench bench --list`", 3)
    if list_only:
        return list_cases(chosen)
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
    return print_timings(record)


def list_cases(chosen: Sequence[Case]) -> int:
    """Print what each case does in one call."""
    for case in chosen:
        print(f"{case.id:28} {case.work:g} {case.unit} a call; {', '.join(f'{k} {v}' for k, v in case.params.items())}")
    print(f"{len(chosen)} cases")
    return 0


def timed(plan: Plan, tuning: str) -> dict[str, Any]:
    """The record of a run of the clock, with a progress bar."""
    from benchmarks import runner
    from ddpm_bench.progress import Progress, shown

    with shown("timing") as report:

        def note(done: int, total: int, left: float, _: str) -> None:
            report(Progress(done, total, left))

        return runner.run(plan, reference=REFERENCE, tunings=settings_of(tuning), on_progress=note)


def settings_of(tuning: str) -> dict[str, dict[str, str | None]]:
    """The variables that each setting means: "stock" is MindSpore as it comes, "tuned" avoids slow convolutions."""
    from ddpm_bench import remedy

    known: dict[str, dict[str, str | None]] = {"stock": {}, "tuned": dict(remedy.variables(say))}
    return known if tuning == "both" else {tuning: known[tuning]}


def print_timings(record: dict[str, Any]) -> int:
    """Print the table of a bench record, and return its exit code."""
    from rich.console import Console

    from benchmarks.terminal import table

    Console().print(table(record))
    return timing_code(record)


def timing_code(record: dict[str, Any]) -> int:
    """0 when all that ran gave a number, 1 when a gate refused one, 3 when there is no number at all."""
    from benchmarks.summary import rows

    found = rows(record)
    if any(row.invalid for row in found):
        return 1
    return 0 if any(row.seconds for row in found) else 3


@cli.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@click.option("--effect", default=0.03, help="The slowdown worth knowing, as a fraction.")
@click.option("--json", "json_file", type=File, help="Write the verdicts there.")
def compare(old: Path, new: Path, effect: float, json_file: Path | None) -> int:
    """Say for each case of two bench records whether it became slower, with the interval."""
    from benchmarks import compare as comparison
    from benchmarks.measurement import BenchmarkError, read_record, write_record

    output_files(json_file)
    with sentences_of(BenchmarkError):
        record = comparison.compare_records(read_record(old), read_record(new), effect)
    for verdict in record["verdicts"]:
        ratio = "" if verdict["ratio"] is None else f"{verdict['ratio']:.4f}, "
        where = ", ".join(verdict["params"].values())
        print(f"{verdict['label']:13} {verdict['case']} ({where}): {ratio}{verdict['why']}")
    if json_file:
        with sentences_of(BenchmarkError):
            write_record(json_file, record)
    return comparison.exit_code(record)


@cli.command()
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


@cli.command()
@click.option("--quick", is_flag=True, help="Time the small network only.")
@click.option("--out", type=Folder, default=Path("results"), help="Folder for the page and the records.")
def run(quick: bool, out: Path) -> int:
    """The main job: time, probe and judge this DDPM on this machine, and leave one page, report.html."""
    from benchmarks import report as pages
    from benchmarks import runner
    from benchmarks.measurement import BenchmarkError, write_record
    from verification.check import select

    folder = output_folder(out)
    with sentences_of(BenchmarkError):
        # The clock first: MindSpore's threads, once loaded here for the judge, would take time from its workers.
        bench_record = timed(runner.plan(extent="quick" if quick else "run"), "tuned")
        write_record(folder / "bench.json", bench_record)
        doctor_record, _ = diagnosed()
        write_record(folder / "doctor.json", doctor_record)
        findings, subjects = judged(OWN, "both", select("quick"), None)
        verify_record = record_of(findings, subjects, "quick")
        write_record(folder / "verify.json", verify_record)
        content = pages.page([verify_record, bench_record, doctor_record])
        pages.write(folder / "report.html", pages.html(content))
    code = conclude(OWN, findings) or timing_code(bench_record)
    print(f"{pages.headline(content)}\n{folder / 'report.html'}")
    return code


cli.add_command(train)
cli.add_command(sample)
