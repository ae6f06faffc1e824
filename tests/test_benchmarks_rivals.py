"""What other instruments need, on noise whose answer is known, and what is published of it.

Rates over n resamples are held to the 1e-4 quantile of their binomial law.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import noise
import numpy as np
import pytest
from scipy import stats

from benchmarks import replay, rivals
from benchmarks.measurement import Record, read_record

EFFECT = 0.03
PAGE = Path(__file__).parent.parent / "docs" / "clock.md"
STORED = PAGE.parent / "proof" / "digits-b64-graph.json.gz"


def trials(logs: rivals.Array, *, calls: int = 12, planted: float = 0.0, disturbed: bool = False) -> Record:
    """A trial of 20 s a pair: calls of half a second, all equal in a process, which has its effect of (pairs, 2)."""
    pairs = [
        {"old": [0.5 * math.exp(old)] * calls, "new": [0.5 * math.exp(new)] * calls, "conditions": [{}, {}]}
        for old, new in logs
    ]
    label = "slower" if planted else "equivalent"
    return {
        "planted": planted, "disturbed": disturbed, "seconds": 20.0 * len(pairs), "verdict": {"label": label},
        "pairs": pairs,
    }  # fmt: skip


def rates(record: Record) -> dict[str, Record]:
    return {name: {"alarm_rate": 0.001, "detection_rate": 0.998} for name in rivals.noises(record)}


def proof(*found: Record) -> Record:
    return {"trials": list(found)}


def tables(record: Record, *, resamples: int, seed: int = 0) -> list[Record]:
    """With the verdicts of `record` for the clock's own."""
    return rivals.tables(record, EFFECT, rates(record), rivals.noises(record), resamples=resamples, seed=seed)


def instruments(*found: Record, resamples: int = 400) -> dict[str, Record]:
    """By name, with the calls they make by themselves behind those that need it."""
    record = proof(*found)
    (table, *_) = tables(record, resamples=resamples)
    return {f"{one['instrument']}, {one['calls']:g}": one for one in table["instruments"]}


def test_without_noise_the_first_process_will_do_in_every_order() -> None:
    found = instruments(trials(np.zeros((20, 2))))
    for name, one in found.items():
        if name.startswith("ddpm-bench"):
            continue
        assert (one["best"]["threshold"], one["best"]["alarm_rate"], one["best"]["detection_rate"]) == (1.0, 0.0, 1.0)
        assert {needed["processes"] for needed in one["enough"].values()} == {one["processes"]}
        assert (one["own"]["alarm_rate"], one["own"]["detection_rate"]) == (0.0, 0.0), "5 % and 10 % let 3 % pass"


def test_rates_are_those_of_the_law_where_it_is_known() -> None:
    """Independent normal processes of 1 %: log-ratios of k have 1 % √(2/k), and 300 pairs stand for the law."""
    logs = 0.01 * noise.draw("normal", (300, 2), 3)
    values = np.exp(logs).ravel()
    trial = rivals.Trial(rivals.pytest_benchmark(np.mean)(list(values[:, np.newaxis]), EFFECT), 300, 4000, 0)
    for order in rivals.ORDERS:
        for k in (1, 2, 4):
            spread = 0.01 * math.sqrt(2 / k)
            expected = stats.norm.cdf(math.log1p(EFFECT) / spread - stats.norm.isf(0.01))
            found = trial.rates(order, k)
            assert found["alarm_rate"] <= 0.01
            assert found["detection_rate"] == pytest.approx(expected, abs=0.08)
            assert math.log(found["threshold"]) == pytest.approx(spread * stats.norm.isf(0.01), rel=0.15)


def test_first_number_of_processes_with_the_power_is_the_one_that_the_law_has() -> None:
    """(z(1 %) + z(5 %)) · 1.5 % · √(2/k) = log 1.03 at k = 8.1."""
    values = np.exp(0.015 * noise.draw("normal", (800,), 5))
    trial = rivals.Trial(rivals.pytest_benchmark(np.mean)(list(values[:, np.newaxis]), EFFECT), 400, 4000, 0)
    for order in ("anywhere", "in a row", "by turns", "side by side"):
        enough = trial.enough(order, 1, 7.0)
        assert 6 <= enough["processes"] <= 11
        assert enough["seconds"] == 7.0 * enough["processes"]


def test_what_a_pair_shares_is_noise_to_all_who_do_not_run_side_by_side() -> None:
    logs = np.repeat(0.05 * noise.draw("normal", (40, 1), 7), 2, axis=1)
    one = instruments(trials(logs))["pytest-benchmark, median, 12"]
    assert one["enough"]["side by side"]["processes"] == 1
    assert one["best"]["detection_rate"] < 0.3
    assert one["enough"]["anywhere"].get("processes", 99) > 8


def test_slow_drift_is_met_in_a_row_and_cancels_by_turns() -> None:
    """A swing by ±20 % over 60 pairs changes by 2 % a pair at most, and by 0.2 % more or less in the next one."""
    swing = np.repeat(0.2 * np.sin(2 * np.pi * np.arange(60) / 60), 2).reshape(60, 2)
    one = instruments(trials(swing))["pytest-benchmark, mean, 12"]["enough"]
    assert one["by turns"]["processes"] == 2
    assert one["in a row"]["most"] == 30


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_orders_are_what_they_are_called(k: int) -> None:
    draws = {
        name: [2 * np.asarray(arm) // 4 for arm in draw(20, k, 300, np.random.default_rng(2))]
        for name, draw in rivals.ORDERS.items()
    }
    old, new = draws["side by side"]
    assert (old == new).all()
    for name in ("anywhere", "in a row", "by turns"):
        both = np.concatenate(draws[name], axis=1)
        assert all(len(set(row)) == 2 * k for row in both), "no pair is used twice"
    for name in ("in a row", "by turns"):
        both = np.sort(np.concatenate(draws[name], axis=1), axis=1)
        assert (np.diff(both, axis=1) == 1).all(), "a stretch"
        assert {both.min(), both.max()} == {0, 19}, "wherever it fits"
    early, late = (np.sort(np.stack(draws["in a row"]).transpose(1, 0, 2), axis=1)[:, i] for i in (0, 1))
    assert (early.max(axis=1) + 1 == late.min(axis=1)).all()
    assert 0 < np.count_nonzero(draws["in a row"][0][:, 0] < draws["in a row"][1][:, 0]) < 300
    turns = np.sort(np.stack(draws["by turns"]), axis=2)
    pattern = {tuple(np.isin(np.sort(turns[:, i].ravel()), turns[0, i])) for i in range(300)}
    abba = tuple(j % 4 in (0, 3) for j in range(2 * k))
    assert pattern == {abba, tuple(not one for one in abba)}


def test_both_processes_of_a_pair_are_drawn_for_either_arm() -> None:
    for draw in rivals.ORDERS.values():
        for arm in draw(12, 2, 400, np.random.default_rng(2)):
            assert set(np.asarray(arm).ravel()) == set(range(24))


def test_calls_that_are_not_made_are_not_charged() -> None:
    """A pair takes 20 s, of which the calls beyond the fifth take 2 · 7 · 0.5 s."""
    found = instruments(trials(np.zeros((20, 2))))
    assert found["asv, 12"]["seconds"] == pytest.approx(20.0)
    assert found["asv, 5"]["seconds"] == pytest.approx(13.0)


@pytest.mark.parametrize(("seconds", "calls"), [([0.0345] * 40, 29), ([0.5] * 9, 5), ([0.25], 5), ([0.1, 9.0], 10)])
def test_pytest_benchmark_by_itself_calls_for_a_second_and_at_least_five_times(
    seconds: list[float], calls: int
) -> None:
    assert rivals.one_second(seconds) == calls


def test_planted_slowdowns_are_no_noise_and_the_clocks_verdicts_count_by_kind() -> None:
    wrong = {**trials(np.zeros((4, 2))), "verdict": {"label": "faster"}}
    missed = {**trials(np.zeros((4, 2)), planted=0.03), "verdict": {"label": "incomparable"}}
    record = proof(trials(np.zeros((12, 2))), trials(np.zeros((8, 2)), planted=0.03), wrong, missed)
    table, quiet = tables(record, resamples=20)
    assert (table["noise"], table["pairs"], quiet["pairs"]) == ("every trial", 16, 16)
    clock = table["instruments"][0]
    assert [clock[name] for name in ("alarms", "trials", "found", "slowed")] == [1, 2, 1, 2]
    assert (clock["processes"], clock["seconds"], clock["own"]["detection_rate"]) == (6.0, 120.0, 0.998)


def test_disturbed_trials_are_in_one_table_only() -> None:
    record = proof(trials(np.zeros((12, 2))), trials(np.zeros((10, 2)), disturbed=True))
    found = tables(record, resamples=20)
    assert {table["noise"]: table["pairs"] for table in found} == {"every trial": 22, "undisturbed trials": 12}


def test_pair_without_a_number_is_left_out() -> None:
    trial = trials(np.zeros((12, 2)))
    trial["pairs"][4]["new"] = []
    assert tables(proof(trial), resamples=20)[0]["pairs"] == 11


def test_too_few_pairs_give_no_table() -> None:
    record = proof(trials(np.zeros((9, 2))))
    assert tables(record, resamples=20) == []


def test_lines_say_what_is_needed_or_that_nothing_will_do() -> None:
    logs = np.repeat(0.2 * noise.draw("normal", (24, 1), 7), 2, axis=1)
    record = proof(trials(logs))
    (table, _) = tables(record, resamples=100)
    text = rivals.lines(table)
    assert len({line.count("|") for line in text}) == 1, "all rows are as long as the head"
    assert text[2] == "| ddpm-bench | 12 | 0.1%, 0 of 1 | 99.8%, 0 of 0 |  |  |  |  |  | 24 (480 s) |"
    (median,) = [line for line in text if line.startswith("| pytest-benchmark, median | 12 |")]
    assert "| none to 12 (at best " in median
    assert median.endswith("| 1 (20 s) |")


def test_same_seed_gives_the_same_table_and_it_is_json() -> None:
    record = proof(trials(0.02 * noise.draw("normal", (20, 2), 1)))
    one, other = (tables(record, resamples=50, seed=4) for _ in range(2))
    assert one == other
    json.dumps(one, allow_nan=False)


@pytest.fixture(scope="module")
def published() -> str:
    if not PAGE.exists():
        pytest.skip("the pages are not part of the wheel")
    return PAGE.read_text(encoding="utf-8")


def test_page_prints_of_rivals_what_the_stored_record_gives(published: str) -> None:
    """All figures but the clock's rates, which the slow test has."""
    proof = read_record(STORED, kind="proof")
    effect = proof["effect"]
    judged = rivals.noises(replay.judged(proof))
    for table in rivals.tables(proof, effect, rates(proof), judged, resamples=replay.RESAMPLES, seed=0):
        head, rule, clock, *rows = rivals.lines(table)
        printed = published.partition(f"<!-- rivals: {table['noise']} -->\n\n")[2].partition("\n\n")[0].split("\n")
        assert [printed[0], printed[1], *printed[3:]] == [head, rule, *rows]
        rates_left_out = [re.sub(r"[\d.]+%, ", "", line) for line in (printed[2], clock)]
        assert rates_left_out[0] == rates_left_out[1]


@pytest.mark.slow
def test_page_prints_what_replaying_the_stored_record_prints(published: str) -> None:
    lines = replay.lines(replay.replay_proof(read_record(STORED, kind="proof")))
    tables = [line for line in lines if line.startswith("|")]
    (rates,) = [line.strip() for line in lines if "on recorded noise" in line]
    for line in [*tables, rates]:
        assert line in published
