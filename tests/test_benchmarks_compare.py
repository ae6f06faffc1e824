"""The comparison: its labels, its refusals, and what it counts."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import pytest

from benchmarks import compare, intervals
from benchmarks.compare import compare_records, exit_code, judge
from benchmarks.estimate import ALPHA, Estimate, fastest_log_ratio, ordinary_log_ratio
from benchmarks.looks import LOOKS
from benchmarks.measurement import BenchmarkError, Measurement, measurements


def record(
    seconds: dict[int, float], *, session: str = "a", environment: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A bench record with one case: process index to its seconds."""
    params = {"device": "CPU", "mode": "graph", "tuning": "tuned", "rounds": 1}
    rows = [
        {"case": "x", "params": params, "process": process, "seconds": [value], "first_call_seconds": 1.0, "flops": 8,
         "peak_rss_bytes": 1, "cpu_over_wall": 1.0, "work": 1, "unit": "images", "import_seconds": 1.0, "proof": {},
         "invalid": None}
        for process, value in seconds.items()
    ]  # fmt: skip
    return {"schema": 1, "kind": "bench", "created": "2026-01-01T00:00:00+00:00", "session": session,
            "environment": environment or {"code": "one", "cpu": "A"}, "measurements": rows}  # fmt: skip


def arm(value: float, spread: float = 0.001, count: int = 6, seed: int = 0) -> dict[int, float]:
    noise = np.random.default_rng(seed).standard_normal(count)
    return {i: value * math.exp(spread * z) for i, z in enumerate(noise)}


def only_verdict(comparison: dict[str, Any]) -> dict[str, Any]:
    (verdict,) = comparison["verdicts"]
    return dict(verdict)


@pytest.mark.parametrize(
    ("new", "spread", "label", "code"),
    [
        (1.00, 0.001, "equivalent", 0),
        (1.01, 0.001, "equivalent", 0),
        (1.10, 0.001, "slower", 1),
        (0.90, 0.001, "faster", 0),
        (1.02, 0.200, "inconclusive", 3),
    ],
)
def test_label_and_exit_code(new: float, spread: float, label: str, code: int) -> None:
    comparison = compare_records(record(arm(1.0, spread)), record(arm(new, spread, seed=1), session="b"))
    verdict = only_verdict(comparison)
    assert (verdict["label"], exit_code(comparison)) == (label, code)
    assert verdict["interval"][0] < verdict["ratio"] < verdict["interval"][1]
    assert verdict["method"] == "independent"
    assert verdict["processes"] == [6, 6]
    assert verdict["why"]


def test_processes_of_one_session_are_compared_in_pairs() -> None:
    """A drift of 50 % that both arms see: hopeless unpaired, clear in pairs."""
    drift = {i: 1.0 + 0.1 * i for i in range(6)}
    noise = arm(1.0, 0.002, seed=7)
    new = {i: 1.05 * value * noise[i] for i, value in drift.items()}
    apart = only_verdict(compare_records(record(drift), record(new, session="b")))
    together = only_verdict(compare_records(record(drift), record(new, session="a")))
    assert (apart["label"], together["label"]) == ("inconclusive", "slower")
    assert together["method"] == "paired"


def test_pairs_are_matched_by_process_and_not_by_order() -> None:
    drift = {i: 1.0 + 0.1 * i for i in range(6)}
    backwards = dict(sorted(drift.items(), reverse=True))
    verdict = only_verdict(compare_records(record(drift), record(backwards, session="a")))
    assert verdict["interval"] == [1.0, 1.0], "each pair is equal, so there is no spread"


def test_process_without_a_partner_is_left_out() -> None:
    drift = {i: 1.0 + 0.1 * i for i in range(6)}
    others = {i: drift.get(i, 9.0) for i in (0, 2, 3, 5, 8)}
    verdict = only_verdict(compare_records(record(drift), record(others, session="a")))
    assert verdict["processes"] == [4, 4]
    assert verdict["interval"] == [1.0, 1.0]


def test_run_against_itself_is_equivalent() -> None:
    assert exit_code(compare_records(record(arm(1.0)), record(arm(1.0)))) == 0


def test_one_process_an_arm_decides_nothing() -> None:
    comparison = compare_records(record({0: 1.0}), record({0: 9.0}, session="b"))
    verdict = only_verdict(comparison)
    assert verdict["label"] == "inconclusive"
    assert "two of each are the least" in verdict["why"]
    assert exit_code(comparison) == 3


@pytest.mark.parametrize("key", ["cpu", "mindspore", "env.OMP_NUM_THREADS"])
def test_other_environment_is_refused_with_both_values(key: str) -> None:
    old = record(arm(1.0), environment={"code": "one", "cpu": "A", key: "this"})
    new = record(arm(1.0, seed=1), session="b", environment={"code": "two", "cpu": "A", key: "that"})
    comparison = compare_records(old, new)
    verdict = only_verdict(comparison)
    assert verdict["label"] == "incomparable"
    assert f"{key}: this → that" in verdict["why"]
    assert "code" not in verdict["why"]
    assert (verdict["ratio"], verdict["interval"]) == (None, None)
    assert exit_code(comparison) == 3


def test_key_that_is_studied_may_differ_and_code_then_may_not() -> None:
    old = record(arm(1.0), environment={"code": "one", "mindspore": "2.9"})
    new = record(arm(1.2, seed=1), session="b", environment={"code": "one", "mindspore": "2.10"})
    assert only_verdict(compare_records(old, new, studied=["mindspore"]))["label"] == "slower"
    new["environment"]["code"] = "two"
    assert "code: one → two" in only_verdict(compare_records(old, new, studied=["mindspore"]))["why"]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"flops": 16}, "flops: 8 → 16"), ({"work": 2}, "work: 1 → 2"), ({"unit": "steps"}, "unit: images → steps")],
)
def test_other_work_is_refused(change: dict[str, Any], named: str) -> None:
    new = record(arm(1.0, seed=1), session="b")
    for row in new["measurements"]:
        row.update(change)
    assert named in only_verdict(compare_records(record(arm(1.0)), new))["why"]


def test_other_parameters_are_refused() -> None:
    new = record(arm(1.0, seed=1), session="b")
    for row in new["measurements"]:
        row["params"] = {**row["params"], "steps": 4}
    assert "steps: absent → 4" in only_verdict(compare_records(record(arm(1.0)), new))["why"]


def test_invalid_process_makes_its_cell_incomparable() -> None:
    new = record(arm(1.0, seed=1), session="b")
    new["measurements"][2].update(seconds=[], invalid="eps_hat is off")
    verdict = only_verdict(compare_records(record(arm(1.0)), new))
    assert verdict["label"] == "incomparable"
    assert "1 of 6 processes of the new record are invalid: eps_hat is off" in verdict["why"]


def test_cell_that_only_one_record_has_is_named() -> None:
    new = record(arm(1.0), session="b")
    for row in new["measurements"]:
        row["params"] = {**row["params"], "mode": "pynative"}
    whys = [verdict["why"] for verdict in compare_records(record(arm(1.0)), new)["verdicts"]]
    assert whys == ["only the old record has this cell", "only the new record has this cell"]


def test_empty_records_compare_to_nothing() -> None:
    comparison = compare_records(record({}), record({}))
    assert comparison["verdicts"] == []
    assert exit_code(comparison) == 3


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (("slower", "inconclusive"), 1),
        (("slower", "incomparable", "faster"), 1),
        (("equivalent", "inconclusive"), 3),
        (("equivalent", "incomparable"), 3),
        (("equivalent", "faster"), 0),
    ],
)
def test_worst_label_decides_the_exit_code(labels: tuple[str, ...], code: int) -> None:
    assert exit_code({"verdicts": [{"label": label} for label in labels]}) == code


@pytest.mark.parametrize("effect", [0.0, -0.1, 1.0, math.nan])
def test_impossible_effect_is_refused(effect: float) -> None:
    with pytest.raises(BenchmarkError, match="between 0 and 1"):
        compare_records(record({}), record({}), effect)


def test_other_kind_of_record_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="the new record is a record of kind 'verify'"):
        compare_records(record({}), {"schema": 1, "kind": "verify"})


def test_comparison_is_a_pure_function_of_its_records() -> None:
    old, new = record(arm(1.0)), record(arm(1.1, seed=1), session="b")
    before = copy.deepcopy((old, new))
    first, second = compare_records(old, new), compare_records(old, new)
    assert (old, new) == before
    assert first["verdicts"] == second["verdicts"]


def turns(ratios: list[list[float]]) -> list[dict[str, Any]]:
    """The two arms of a session: a pair a list, whose rounds of the new arm are longer by its entries."""
    arms = [record(dict.fromkeys(range(len(ratios)), 1.0)) for _ in range(2)]
    for old, new, factors in zip(arms[0]["measurements"], arms[1]["measurements"], ratios, strict=True):
        speed = [1.0 + 0.5 * (k % 3) for k in range(len(factors))]  # of the machine, from moment to moment
        old.update(seconds=speed, interleaved=True)
        new.update(seconds=[s * f for s, f in zip(speed, factors, strict=True)], interleaved=True)
    return arms


def test_value_of_an_interleaved_pair_is_of_its_fastest_and_its_ordinary_calls() -> None:
    """Around 1.01, by so much that 1.02 may be the same, and 1.02."""
    arms = turns([[1.01 * math.exp(e), 1.02, 1.02, 1.3, 1.02, 1.0, 1.3] for e in 0.004 * np.arange(-4, 5)])
    verdict = only_verdict(compare_records(*arms))
    assert verdict["ratio"] == pytest.approx(math.sqrt(1.01 * 1.02))
    assert verdict["judged_by"] == "fastest and ordinary calls"


def test_fastest_calls_are_a_tenth_and_one_at_least() -> None:
    """Of 40 rounds four: 1, 1, 1, 4 of the old arm have the mean logarithm log 4 / 4, and of 19 there is one."""
    old = [[1.0, 1.0, 1.0, 4.0, *[8.0] * 36], [1.0, *[8.0] * 18]]
    new = [[2.0, 2.0, 2.0, 2.0, *[8.0] * 36], [2.0, *[8.0] * 18]]
    for before, after, ratio in zip(old, new, (2.0 / 4**0.25, 2.0), strict=True):
        one, other = (row_of(seconds) for seconds in (before, after))
        assert math.exp(fastest_log_ratio(one, other)) == pytest.approx(ratio)
        assert ordinary_log_ratio(one, other) == 0.0


def row_of(seconds: Sequence[float]) -> Measurement:
    (row,) = measurements(record({0: 1.0}))
    return dataclasses.replace(row, seconds=tuple(seconds), interleaved=True)


def test_more_rounds_do_not_look_like_speed() -> None:
    """Twelve rounds beside 12 or 48 of the same law: of 48 the fastest tenth is further down than one of twelve."""
    random = np.random.default_rng(8)
    for per_turn in (1, 4):
        found = [
            fastest_log_ratio(*(row_of(np.exp(0.07 * random.standard_normal(12 * n))) for n in (1, per_turn)))
            for _ in range(4000)
        ]
        assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(4000) < 0.004


def test_arms_exchanged_give_the_same_with_the_other_sign() -> None:
    random = np.random.default_rng(9)
    one, other = (row_of(np.exp(0.1 * random.standard_normal(n))) for n in (12, 48))
    for value in (fastest_log_ratio, ordinary_log_ratio):
        assert value(one, other) == pytest.approx(-value(other, one))
        assert value(one, other) != 0.0


WOBBLE = 1 + 0.001 * np.random.default_rng(5).standard_normal((8, 3))


@pytest.mark.parametrize(
    ("ratios", "label", "ratio", "by"),
    [
        ((1.0, 1.05, 1.05), "slower", 1.05, "ordinary calls"),
        ((1.0, 0.95, 0.95), "faster", 0.95, "ordinary calls"),
        ((1.08, 1.0, 1.0), "equivalent", 1.0, "ordinary calls"),
        ((0.92, 1.0, 1.0), "equivalent", 1.0, "ordinary calls"),
        ((1.0, 1.12, 1.12), "slower", 1.12, "ordinary calls"),
        ((1.05, 1.05, 1.05), "slower", 1.05, "fastest and ordinary calls"),
        ((1.0, 1.0, 1.0), "equivalent", 1.0, "fastest and ordinary calls"),
    ],
)
def test_ordinary_calls_count_alone_where_the_fastest_surely_differ(
    ratios: tuple[float, ...], label: str, ratio: float, by: str
) -> None:
    """The machine is fastest in the first of each three rounds, which changed by something else than the others."""
    verdict = only_verdict(compare_records(*turns((WOBBLE * ratios).tolist()), most=LOOKS[-1]))
    assert (verdict["label"], verdict["judged_by"]) == (label, by)
    assert verdict["ratio"] == pytest.approx(ratio, rel=2e-3)
    assert ("of ordinary calls alone" in verdict["why"]) == (by == "ordinary calls")


def test_ordinary_calls_do_not_count_alone_where_noise_may_be_the_difference() -> None:
    """Half of the pairs have the fastest calls above, half below."""
    ratios = [[1.0 + (-1) ** i * 0.02, 1.0, 1.0] for i in range(8)]
    assert only_verdict(compare_records(*turns(ratios)))["judged_by"] == "fastest and ordinary calls"


def test_pairs_one_after_the_other_are_judged_by_their_processes() -> None:
    arms = turns([[1.01, 1.3, 1.02]] * 8)
    for row in arms[1]["measurements"]:
        row["interleaved"] = False
    verdict = only_verdict(compare_records(*arms))
    assert (verdict["judged_by"], verdict["ratio"]) == ("processes", pytest.approx(1.3))


def test_turn_of_an_arm_with_more_rounds_counts_as_its_median() -> None:
    """Two turns of three rounds beside one each; the machine is twice as slow in the second."""
    arms = turns([[1.0, 1.0]] * 8)
    for old, new in zip(arms[0]["measurements"], arms[1]["measurements"], strict=True):
        old.update(seconds=[0.099, 0.1, 0.5, 0.2, 0.05, 0.2], params={**old["params"], "rounds": 6})
        new.update(seconds=[1.0, 2.0], params={**new["params"], "rounds": 2})
    verdict = only_verdict(compare_records(*arms))
    assert (verdict["ratio"], verdict["judged_by"]) == (pytest.approx(10.0), "ordinary calls")
    apart = [{**arm, "session": name} for arm, name in zip(arms, "ab", strict=True)]
    verdict = only_verdict(compare_records(*apart))
    assert (verdict["label"], verdict["why"]) == ("incomparable", "what was timed differs in rounds: 6 → 2")


def test_only_rows_side_by_side_are_compared_and_shown() -> None:
    """An arm that went on beside others, where it became slower and was spoilt at last, is as it was beside this."""
    old, new = turns([[1.05, 1.05, 1.05]] * 8)
    before = only_verdict(compare_records(old, new))
    assert before["seconds"] == pytest.approx([row_value(old), row_value(new)])
    extra = [{**row, "process": 8 + i, "seconds": [9.0] * 3} for i, row in enumerate(old["measurements"])]
    extra[-1] |= {"seconds": [], "invalid": "a signal ended it"}
    longer = {**old, "measurements": [*old["measurements"], *extra]}
    assert only_verdict(compare_records(longer, new)) == before
    apart = {**old, "measurements": extra}
    verdict = only_verdict(compare_records(apart, new))
    assert (verdict["label"], verdict["why"]) == ("incomparable", "no process of one ran beside one of the other")


def row_value(record: dict[str, Any]) -> float:
    return float(np.median([np.median(row["seconds"]) for row in record["measurements"]]))


def test_pairs_one_after_the_other_have_the_wider_interval() -> None:
    factors = [[math.exp(z)] * 3 for z in 0.01 * np.random.default_rng(1).standard_normal(9)]
    together, apart = turns(factors), turns(factors)
    for row in apart[0]["measurements"]:
        row["interleaved"] = False
    lows = [math.log(only_verdict(compare_records(*arms))["interval"][0]) for arms in (together, apart)]
    centre = math.log(only_verdict(compare_records(*together))["ratio"])
    assert (lows[1] - centre) / (lows[0] - centre) == pytest.approx(intervals.SERIAL)


def test_enough_pairs_are_judged_by_signed_ranks_and_fewer_by_student() -> None:
    found = [only_verdict(compare_records(record(arm(1.0, count=n)), record(arm(1.0, count=n)))) for n in (6, 7)]
    assert [one["interval_by"] for one in found] == ["Student's t", "signed ranks"]


def test_running_comparison_says_nothing_before_ranks_can_speak() -> None:
    arms = [turns([[factor] * 3] * 6) for factor in (1.0, 1.9)]
    for old, new in arms:
        verdict = only_verdict(compare_records(old, new, most=LOOKS[-1]))
        assert (verdict["label"], verdict["processes_needed"]) == ("inconclusive", 7)
        assert "7 of each are the least" in verdict["why"]


def test_running_comparison_calls_a_gross_change_by_its_name_after_three_pairs() -> None:
    factors = [[math.exp(0.05 * z)] * 3 for z in np.random.default_rng(3).standard_normal(3)]
    for factor, label in ((30.0, "slower"), (1 / 30.0, "faster")):
        verdict = only_verdict(
            compare_records(*turns([[factor * one for one in row] for row in factors]), most=LOOKS[-1])
        )
        assert (verdict["label"], verdict["interval_by"]) == (label, "Student's t")
    two = turns([[30.0] * 3] * 2)
    assert only_verdict(compare_records(*two, most=LOOKS[-1]))["label"] == "inconclusive"
    lucky = turns([[30.0] * 3, [30.0] * 3, [1.9] * 3])
    assert only_verdict(compare_records(*lucky, most=LOOKS[-1]))["label"] == "inconclusive"


def test_running_comparison_is_judged_at_the_level_of_its_look() -> None:
    arms = turns([[1.05 + 0.001 * i] * 3 for i in range(8)])
    verdict = only_verdict(compare_records(*arms, most=LOOKS[-1]))
    assert (verdict["label"], verdict["alpha"]) == ("slower", pytest.approx(0.799 * ALPHA))
    assert "98.4 %" in verdict["why"]


def test_other_machine_is_refused_by_its_name() -> None:
    old = record(arm(1.0), environment={"code": "one", "host": "here"})
    new = record(arm(1.0, seed=1), session="b", environment={"code": "one", "host": "there"})
    assert "host: here → there" in only_verdict(compare_records(old, new))["why"]


def schema() -> dict[str, Any]:
    """The schema that the wheel carries."""
    text = resources.files("benchmarks").joinpath("schemas/compare.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_published_schema_describes_every_label() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    seen = set()
    for new in (
        record(arm(1.0, seed=1)), record(arm(1.1), session="b"), record(arm(0.9), session="b"),
        record(arm(1.02, 0.2), session="b"), record({0: 1.0}), record({}),
    ):  # fmt: skip
        comparison = compare_records(record(arm(1.0)), new)
        written = json.loads(json.dumps(comparison, allow_nan=False))
        assert not list(validator.iter_errors(written))
        seen |= {verdict["label"] for verdict in written["verdicts"]}
    assert seen == set(compare.LABELS)
    fields = {field.name for field in dataclasses.fields(compare.Verdict)}
    assert fields == set(schema()["$defs"]["verdict"]["properties"])


@pytest.mark.parametrize("damage", [{"label": "fine"}, {"ratio": "1"}, {"interval": [1.0]}, {"why": ""}])
def test_damaged_verdict_is_noticed_by_the_schema(damage: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    comparison = compare_records(record(arm(1.0)), record(arm(1.0, seed=1)))
    comparison["verdicts"][0].update(damage)
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(json.loads(json.dumps(comparison))))


@pytest.mark.parametrize(
    ("middle", "label"), [(0.014, "inconclusive"), (0.015, "slower"), (-0.014, "inconclusive"), (-0.015, "faster")]
)
def test_interval_that_excludes_0_by_a_hair_is_nearer_to_the_effect_or_undecided(middle: float, label: str) -> None:
    """Between 0 and half of 3 % an interval this wide says neither that nothing happened nor that it matters."""
    low, high = sorted((math.copysign(0.0001, middle), math.copysign(0.04, middle)))
    estimate = Estimate(middle, 0.01, 7, 0.02, "paired", (8, 8), bounds=(low, high))
    assert judge(estimate, 0.03) == label
