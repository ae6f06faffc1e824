"""The command line `ddpm-bench`: where the subject, the judge and the clock meet.

The clock's own verbs are in `cli_clock.py`, those of the DDPM alone in `cli_training.py`.

Every verb imports what it needs inside itself, so `--help`, `compare` and `report` work without MindSpore. Exit codes:
0 all good; 1 a check failed or a case regressed; 2 wrong usage or bad input, in one sentence on stderr; 3 inconclusive,
or nothing was tested or compared; 4 the self-test found a hole in the judge; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_bench import interruption
from ddpm_bench.cli_clock import bench, compare, replay, report, settings, timed
from ddpm_bench.cli_outcome import outcome
from ddpm_bench.cli_training import sample, train
from ddpm_bench.cli_versions import versions
from ddpm_bench.errors import ConfigError
from ddpm_bench.files import output_files, output_folder
from ddpm_bench.terminal import (
    File,
    Folder,
    chance_options,
    complain,
    mode_option,
    prepare,
    refuse_all_but,
    rooms_stand_together,
    say,
    sentences_of,
    tinted,
)

if TYPE_CHECKING:
    from ddpm_bench.doctor_record import Diagnosis
    from verification.check import Check, Finding
    from verification.known_failures import KnownFailures
    from verification.protocol import Subject

OWN = "ddpm_bench.subject:MindSporeSubject"
"""What `verify` judges unless told otherwise."""

MUTANTS = ("verification.mutants", "ddpm_bench.subject_mutants")
"""Where planted mistakes come from: the judge's own, and wrong versions of this DDPM, which need MindSpore."""


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
@chance_options
@click.option("--known-failures", type=File, help="TOML file of failures that are known, with their reasons.")
@click.option("--json", "json_file", type=File, help="Write the findings there.")
@click.option("--junit", "junit_file", type=File, help="Write JUnit XML there, one test a finding.")
@click.option("--self-test", is_flag=True, help="Judge the judge: plant every known mistake, see it noticed.")
@click.option("--list", "list_only", is_flag=True, help="Print the checks and stop.")
def verify(
    subject: str,
    mode: str,
    tier: str,
    only: str,
    seed: int | None,
    profile: str,
    known_failures: Path | None,
    json_file: Path | None,
    junit_file: Path | None,
    self_test: bool,
    list_only: bool,
) -> int:
    """Check a DDPM against mathematics derived another way; by default this one."""
    from verification import check, overview, randomness, report
    from verification import known_failures as known
    from verification.protocol import VerificationError

    if self_test:
        refuse_all_but("json_file", "self_test", because="--self-test judges the checks, not a DDPM")
        output_files(json_file)
        return self_tested(json_file)
    with sentences_of(VerificationError):
        chance = randomness.chosen(seed, profile)
        checks = check.select(tier, only)
        if not checks:
            return complain(f"no check of tier {tier} matches {only!r}; see `ddpm-bench verify --list`", 3)
        if list_only:
            print(overview.listing(checks))
            return 0
        output_files(json_file, junit_file)
        expected = known.load_known_failures(known_failures) if known_failures else None
        findings, subjects = judged(subject, mode, checks, expected, seed=chance.seed, profile=profile)
        if json_file:
            report.write_json(json_file, report.record(findings, subjects, tier=tier, environment=environment()))
        if junit_file:
            report.write_junit(junit_file, findings)
    if chance.options:
        print(f"to judge with the same random numbers again, add{chance.options}")
    return conclude(subject, findings)


def self_tested(json_file: Path | None) -> int:
    """Plant every known mistake and print who noticed; 4 if the suite has a hole."""
    from rich.console import Console

    from ddpm_bench import self_test_table
    from ddpm_bench.progress import paced, shown
    from verification import report, self_test
    from verification.protocol import VerificationError

    with contextlib.suppress(ConfigError, ImportError):  # without MindSpore the record says what is unavailable
        prepare()
    with sentences_of(VerificationError), shown("planting mistakes") as bar:
        result = self_test.run(MUTANTS, on_progress=paced(bar))
        record = self_test.record(result, environment())
        if json_file:
            report.write_json(json_file, record)
    self_test_table.show(record, Console())
    return result.exit_code


def judged(
    subject: str, mode: str, checks: Sequence[Check], known: KnownFailures | None, **chance: Any
) -> tuple[list[Finding], list[Subject]]:
    """The findings of `checks` on every subject that `subject` and `mode` name, and those subjects.

    `chance`: the `seed` and `profile` of `run_checks`.
    """
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
            run_checks(subjects[-1], chosen, known_failures=known, on_finding=note, spec=spec.text, **chance)
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
            print(f"    {finding.reproduce}\n")
    print("\n".join(overview.lines(findings)))
    print(tinted(summary(findings), "green" if exit_code(findings) == 0 else "red"))
    skipped = subject == OWN and any(finding.status == "skipped" for finding in findings)
    return exit_code(findings) or int(skipped)


def environment() -> dict[str, str | int]:
    """What numbers depend on here, for a record."""
    from benchmarks.environment import collect

    return collect()


@cli.command()
@click.option("--quick", is_flag=True, help="Time the small network only.")
@click.option("--out", type=Folder, default=Path("results"), help="Folder for the page and the records.")
def run(quick: bool, out: Path) -> int:
    """The main job: time, probe and judge this DDPM on this machine, and leave one page, report.html."""
    from benchmarks import plans, summary
    from benchmarks import report as pages
    from benchmarks.measurement import BenchmarkError, write_record
    from verification import report as verification_report
    from verification.check import select

    folder = output_folder(out)
    with sentences_of(BenchmarkError):
        # The clock first: MindSpore's threads, once loaded here for the judge, would take time from its workers.
        bench_record = timed(plans.plan(extent="quick" if quick else "run"), settings("tuned"))
        write_record(folder / "bench.json", bench_record)
        doctor_record, _ = diagnosed()
        write_record(folder / "doctor.json", doctor_record)
        findings, subjects = judged(OWN, "both", select("quick"), None)
        verify_record = verification_report.record(findings, subjects, tier="quick", environment=environment())
        write_record(folder / "verify.json", verify_record)
        content = pages.page([verify_record, bench_record, doctor_record])
        pages.write(folder / "report.html", pages.html(content))
    code = conclude(OWN, findings) or summary.exit_code(bench_record)
    print(f"{pages.headline(content)}\n{folder / 'report.html'}")
    return code


cli.add_command(bench)
cli.add_command(compare)
cli.add_command(replay)
cli.add_command(report)
cli.add_command(versions)
cli.add_command(train)
cli.add_command(sample)
