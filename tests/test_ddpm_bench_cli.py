"""The command line: every mistake is one sentence and the documented exit code, and nothing is lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import records
from PIL import Image

from ddpm_bench import cli
from verification.check import select


def run(*arguments: str | Path) -> int:
    return cli.run_command([str(argument) for argument in arguments])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, which must be a single line of this program's and no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("note: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("ddpm-bench: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--help"),
        (["trian"], "trian"),
        (["verify", "--moed", "both"], "--mode"),
        (["verify", "--mode", "fast"], "pynative"),
        (["verify", "--subject", "no_such_module:Thing"], "no_such_module"),
        (["verify", "--subject", "json:Nothing"], "Nothing"),
        (["verify", "--subject", "nonsense"], "module:factory"),
        (["verify", "--known-failures", "absent.toml"], "absent.toml"),
        (["verify", "--self-test", "--only", "FWD-*"], "leave out --only"),
        (["verify", "--self-test", "--subject", "a:b"], "leave out --subject"),
        (["verify", "--seed", "-1"], "-1"),
        (["verify", "--profile", "weekly"], "nightly"),
        (["bench", "--device", "TPU"], "Ascend"),
        (["train", "--preset", "digit", "--out", "x"], "digits"),
        (["train", "--data", "digts", "--out", "x"], "digits"),
        (["train", "--device", "Asend", "--out", "x"], "Ascend"),
        (["train"], "--out"),
        (["sample", "--checkpoint", "absent.safetensors", "--out", "x"], "absent.safetensors"),
        (["compare", "absent.json", "absent.json"], "absent.json"),
        (["report", "absent.json"], "absent.json"),
        (["doctor", "--kernels", "."], "directory"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert told in sentence(capsys)
    assert not list(tmp_path.iterdir()), "something was written"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stpes = 3", "steps"),
        ("[diffusion]\nschedule = 'linaer'", "linear"),
        ("[diffusion]\nnum_timesteps = 0", "0"),
        ("[network]\nbase_chanels = 3", "base_channels"),
        ("steps = 'many'", "integer"),
        ("steps =", "TOML"),
    ],
)
def test_mistake_in_a_configuration_is_one_sentence(
    text: str, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    assert run("train", "--config", file, "--out", tmp_path / "out") == 2
    assert told in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_ledger_that_is_another_file_is_refused_before_any_probing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(records.bench(records.measurement())))
    before = file.read_text()
    assert run("doctor", "--kernels", file) == 2
    assert "bench.json is not a ledger of kernels" in sentence(capsys)
    assert file.read_text() == before


def test_kernel_worse_than_the_judge_allows_is_told_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"op": "exp", "dtype": "float32", "device": "CPU", "mode": "graph", "reach": 8.0, "ulps": 9.0}
    row |= {"hull": [[1.0, 1e-3]], "not_finite": 0, "digest": "a"}
    monkeypatch.setattr("ddpm_bench.kernel_record.ask", lambda _: {"kernels": [row]})
    assert cli.measure_kernels(tmp_path / "kernels.json", None) == 1
    assert "worse than the judge allows for: exp float32 up to 8" in capsys.readouterr().out
    monkeypatch.setattr("ddpm_bench.kernel_record.ask", lambda _: {"kernels": [row | {"hull": [[1.0, 1e-7]]}]})
    assert cli.measure_kernels(tmp_path / "kernels.json", None) == 0
    assert json.loads((tmp_path / "kernels.json").read_text())["environment"]["numpy"]


def test_reader_that_stops_reading_is_no_failure() -> None:
    """As `| head` does."""
    script = Path(sys.executable).with_name("ddpm-bench")
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    with subprocess.Popen(
        [str(script), "verify", "--list"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")


def test_folder_without_images_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert run("train", "--data", tmp_path / "data", "--preset", "mnist", "--out", tmp_path / "out") == 2
    assert "no image" in sentence(capsys)


def test_broken_image_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "data" / "good.png")
    (tmp_path / "data" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    assert run("train", "--data", tmp_path / "data", "--preset", "mnist", "--out", tmp_path / "out") == 2
    assert "broken.png" in sentence(capsys)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"GIF89a and more, and more of it"])
def test_foreign_or_truncated_checkpoint_is_one_sentence(
    content: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert run("sample", "--checkpoint", file, "--out", tmp_path / "out") == 2
    assert "x.safetensors" in sentence(capsys)
    assert file.read_bytes() == content


def test_output_that_is_a_file_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    assert run("run", "--out", tmp_path / "out") == 2
    assert "out" in sentence(capsys)
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "--json"],
        ["verify", "--json"],
        ["verify", "--junit"],
        ["bench", "--json"],
        ["report", "bench.json", "--html"],
        ["report", "bench.json", "--pytest-benchmark"],
        ["compare", "bench.json", "bench.json", "--json"],
        ["compare", "bench.json", "bench.json", "--junit"],
        ["replay", ".", "--json"],
    ],
    ids=" ".join,
)
def test_file_that_cannot_be_written_is_noticed_before_the_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bench.json").write_text(json.dumps(records.bench(records.measurement())))
    Path("file").write_text("precious")
    for work in ("benchmarks.runner.run", "verification.check.run_checks", "ddpm_bench.cli.diagnosed"):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("worked before it looked"))
    assert run(*arguments, "file/record.json") == 2
    assert "cannot write" in sentence(capsys)
    assert Path("file").read_text() == "precious"


@pytest.mark.parametrize("verb", ["verify", "bench"])
def test_pattern_that_matches_nothing_exits_with_3(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--only", "no-such-thing") == 3
    assert "no-such-thing" in sentence(capsys)


@pytest.mark.parametrize("verb", ["run", "doctor", "verify", "bench", "compare", "replay", "report", "train", "sample"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    assert "Usage: ddpm-bench" in capsys.readouterr().out


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert "ddpm-bench, version" in capsys.readouterr().out


def test_comparison_of_equal_records_is_no_success_without_enough_processes(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(records.bench(records.measurement())))
    assert run("compare", file, file) == 3


def test_slower_record_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, factor in (("old", 1.0), ("new", 1.5)):
        rows = [records.measurement(process=i, seconds=[factor * (0.5 + 0.001 * i)]) for i in range(4)]
        (tmp_path / f"{name}.json").write_text(json.dumps({**records.bench(*rows), "session": name}))
    assert run("compare", tmp_path / "old.json", tmp_path / "new.json", "--json", tmp_path / "verdict.json") == 1
    assert "slower" in capsys.readouterr().out
    assert json.loads((tmp_path / "verdict.json").read_text())["verdicts"][0]["label"] == "slower"


def test_verdicts_go_where_a_build_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, factor in (("old", 1.0), ("new", 1.5)):
        rows = [records.measurement(process=i, seconds=[factor * (0.5 + 0.001 * i)]) for i in range(4)]
        (tmp_path / f"{name}.json").write_text(json.dumps({**records.bench(*rows), "session": name}))
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    assert run("compare", *files, "--junit", tmp_path / "junit.xml", "--github") == 1
    assert "::error title=slower%3A unet_forward[cifar10%2Cb4]" in capsys.readouterr().out
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()


def test_threshold_is_replayed_on_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import history

    for number, factor in enumerate((1.0, 1.0, 1.5)):
        rows = [records.measurement(process=i, seconds=[factor * (0.5 + 0.001 * i)]) for i in range(5)]
        made = f"2026-01-0{number + 1}T00:00:00+00:00"
        history.append(tmp_path, {**records.bench(*rows), "session": str(number), "created": made})
    assert run("replay", tmp_path, "--resamples", 20, "--json", tmp_path / "replay.json") == 0
    assert "1 alarms at 3.0% in 2 comparisons of sessions" in capsys.readouterr().out
    assert json.loads((tmp_path / "replay.json").read_text())["kind"] == "replay"


def test_noise_of_a_compressed_self_test_is_replayed_beside_other_instruments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"old": [0.5] * 6, "new": [0.5] * 6, "conditions": [{}, {}]}
    trial = {
        "planted": 0,
        "disturbed": False,
        "seconds": 60.0,
        "verdict": {"label": "equivalent"},
        "pairs": [pair] * 12,
    }
    proof = {"schema": 1, "kind": "proof", "effect": 0.03, "case": "x", "mode": "graph", "trials": [trial]}
    (tmp_path / "proof.json.gz").write_bytes(gzip.compress(json.dumps(proof).encode()))
    assert run("replay", tmp_path / "proof.json.gz", "--resamples", 20, "--json", tmp_path / "replay.json") == 0
    assert "| asv | 6 | 0.0% | 0.0% |" in capsys.readouterr().out
    tables = json.loads((tmp_path / "replay.json").read_text())["rivals"]
    assert [table["noise"] for table in tables] == ["every trial", "undisturbed trials"]
    (tmp_path / "proof.json.gz").write_bytes((tmp_path / "proof.json.gz").read_bytes()[:-9])
    assert run("replay", tmp_path / "proof.json.gz") == 2
    assert "is compressed and not whole" in sentence(capsys)


def test_nothing_to_replay_exits_with_3_and_other_files_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", tmp_path) == 3
    (tmp_path / "bench.json").write_text(json.dumps(records.bench(records.measurement())))
    assert run("replay", tmp_path / "bench.json") == 2
    assert "is a record of kind 'bench', not 'proof'" in sentence(capsys)
    assert run("replay", tmp_path, "--effect", "2") == 2
    assert "the effect must lie between 0 and 1" in sentence(capsys)


def test_measurements_are_exported_for_pytest_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(records.bench(records.measurement())))
    (tmp_path / "verify.json").write_text(json.dumps(records.verify(records.finding())))
    assert run("report", tmp_path / "bench.json", "--pytest-benchmark", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["benchmarks"][0]["stats"]["rounds"] == 1
    assert run("report", tmp_path / "verify.json", "--pytest-benchmark", tmp_path / "no.json") == 2
    assert "name a file that bench wrote" in sentence(capsys)


def test_report_prints_markdown_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(records.bench(records.measurement())))
    assert run("report", tmp_path / "bench.json") == 0
    assert capsys.readouterr().out.startswith("**Not verified.")
    assert run("report", tmp_path / "bench.json", "--html", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_room_from_elsewhere_stops_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package `benchmarks` of somebody else's earlier on the path would be run in place of ours."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(cli.sys.modules, "benchmarks", raising=False)
    assert run("bench", "--list") == 2
    told = sentence(capsys)
    assert str(tmp_path) in told
    assert "benchmarks" in told


REFERENCE = "verification.reference:ReferenceSubject(num_timesteps=3)"


def test_seed_of_the_gate_needs_no_mention_and_another_one_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "--subject", REFERENCE, "--only", "FWD-1") == 0
    assert "seed" not in capsys.readouterr().out
    assert run("verify", "--subject", REFERENCE, "--only", "FWD-1", "--seed", "5") == 0
    assert "--seed 5" in capsys.readouterr().out


def test_nightly_run_takes_a_fresh_seed_records_it_and_says_how_to_have_it_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("verify", "--subject", REFERENCE, "--only", "FWD-1", "--profile", "nightly", "--json")
    seeds = []
    for file in (tmp_path / "one.json", tmp_path / "two.json"):
        assert run(*arguments, file) == 0
        (finding,) = json.loads(file.read_text())["findings"]
        seeds.append(finding["seed"])
        again = f"--seed {finding['seed']} --profile nightly"
        assert again in capsys.readouterr().out
        assert finding["reproduce"].endswith(again)
    assert len({0, *seeds}) == 3


def test_interruption_says_what_was_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt("stopped after step 7, which is saved")

    monkeypatch.setattr("verification.check.select", interrupted)
    assert run("verify") == 130
    assert "step 7" in sentence(capsys)


@pytest.mark.parametrize(("faults", "code"), [([], 0), (["FWD-1 kills nothing"], 4)])
def test_self_test_prints_the_matrix_writes_it_and_exits_with_4_for_a_hole(
    faults: list[str],
    code: int,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from verification import self_test
    from verification.kill_matrix import Verdict
    from verification.mutants import load_mutants

    asked: list[tuple[str, ...]] = []

    def run_without_processes(sources: tuple[str, ...], *, on_progress: Callable[[int, int], None]) -> object:
        asked.append(sources)
        on_progress(1, 1)
        verdict = Verdict("M13", "FWD-1", "failed", 7.0, "t=3", "square root missing", "")
        mutants = {"M13": load_mutants()["M13"]}
        return self_test.SelfTest(mutants, select("full", "FWD-1"), [verdict], [], {}, 1.0, faults)

    def without_mindspore() -> None:
        raise ModuleNotFoundError("No module named 'mindspore'")

    monkeypatch.setattr(cli, "prepare", without_mindspore)
    monkeypatch.setattr(self_test, "run", run_without_processes)
    assert run("verify", "--self-test", "--json", tmp_path / "matrix.json") == code
    assert asked == [("verification.mutants", "ddpm_bench.subject_mutants")]
    said = capsys.readouterr().out
    assert "M13 (alone)" in said
    assert all(f"FAULT    {fault}" in said for fault in faults)
    record = json.loads((tmp_path / "matrix.json").read_text())
    assert record["kind"] == "self-test"
    assert record["mutants"][0]["checks"]["FWD-1"]["diagnosis"] == "square root missing"
    assert record["faults"] == faults
