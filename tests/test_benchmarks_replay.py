"""Replaying a threshold on histories whose truth is known: alarms, steps, and rates on the noise itself.

Rates over n resamples are held to the 1e-4 quantile of their binomial law.
"""

from __future__ import annotations

import json
import math
from typing import Any

import noise
import numpy as np
import pytest
import records
from scipy import stats

from benchmarks import replay
from benchmarks.measurement import BenchmarkError

PERCENT = 0.01


def session(
    number: int, log_ratio: float = 0.0, *, spread: float = PERCENT, code: str = "same", processes: int = 5, **more: Any
) -> records.Record:
    """A session of so many processes around half a second, all slower by `log_ratio`."""
    logs = log_ratio + spread * noise.draw("normal", (processes,), seed=number)
    rows = [records.measurement(process=i, seconds=[0.5 * math.exp(one)]) for i, one in enumerate(logs)]
    name = f"2026-01-{number + 1:02d}T00:00:00+00:00" if number < 30 else f"2026-03-01T00:{number:02d}:00+00:00"
    return {**records.bench(*rows, code=code), "session": f"s{number}", "created": name, **more}


def only(record: records.Record) -> records.Record:
    (cell,) = record["cells"]
    return dict(cell)


def test_unchanged_code_raises_no_alarm() -> None:
    cell = only(replay.replay([session(i) for i in range(20)], resamples=50))
    assert cell["sessions"] == 20
    assert len(cell["comparisons"]) == 19
    assert cell["alarms"] == cell["false_alarms"] == 0
    assert cell["steps"] == []


def test_slowdown_is_an_alarm_and_a_step_at_its_session() -> None:
    history = [session(i, 0.05 * (i >= 12), code="old" if i < 12 else "new") for i in range(24)]
    cell = only(replay.replay(history, resamples=50))
    (alarm,) = [one for one in cell["comparisons"] if one["label"] == "slower"]
    assert (alarm["new"]["session"], alarm["new"]["code"], alarm["same_code"]) == ("s12", "new", False)
    assert (cell["alarms"], cell["false_alarms"]) == (1, 0)
    (step,) = cell["steps"]
    assert (step["session"], step["alarmed"]) == ("s12", True)
    assert step["interval"][0] <= math.exp(0.05) <= step["interval"][1]


def test_machine_that_became_slower_is_a_false_alarm_where_the_code_did_not_change() -> None:
    cell = only(replay.replay([session(i, 0.05 * (i >= 12)) for i in range(24)], resamples=50))
    assert (cell["alarms"], cell["false_alarms"]) == (1, 1)


def test_step_that_no_comparison_sees_is_said() -> None:
    """2 % with two processes a session of 1 % noise: hopeless from one session to the next, plain over 40."""
    history = [session(i, 0.02 * (i >= 20), processes=2) for i in range(40)]
    cell = only(replay.replay(history, resamples=20))
    assert cell["alarms"] == 0
    (step,) = cell["steps"]
    assert not step["alarmed"]


def test_smaller_threshold_flags_what_a_larger_one_lets_pass() -> None:
    history = [session(0, spread=0.001), session(1, 0.02, spread=0.001)]
    alarms = [only(replay.replay(history, effect, resamples=10))["alarms"] for effect in (0.01, 0.05)]
    assert alarms == [1, 0]


def test_order_is_that_of_creation_and_not_of_storage() -> None:
    history = [session(i, 0.05 * (i >= 2), spread=0.001) for i in range(4)]
    cell = only(replay.replay(history[::-1], resamples=10))
    assert [one["label"] for one in cell["comparisons"]] == ["equivalent", "slower", "equivalent"]


def test_other_environments_are_never_compared() -> None:
    history = [session(0), session(1)]
    history[1]["environment"]["cpu"] = "another"
    found = replay.replay(history, resamples=10)["cells"]
    assert [len(cell["comparisons"]) for cell in found] == [0, 0]


def test_rates_on_quiet_noise_are_those_of_the_comparison() -> None:
    """Six processes of 0.5 % noise: 3 % is found nearly always, and nothing is called slower more than once in 100."""
    cell = only(replay.replay([session(i, spread=0.005, processes=6) for i in range(10)], resamples=500))
    rates = cell["noise"]
    assert (rates["method"], rates["pool"], rates["size"]) == ("independent", 60, 6)
    assert rates["alarm_rate"] <= stats.binom.isf(1e-4, 500, 0.01) / 500
    assert rates["detection_rate"] >= 0.96


def test_too_much_noise_for_a_threshold_is_a_low_detection_rate() -> None:
    rates = only(replay.replay([session(i, spread=0.05) for i in range(10)], resamples=300))["noise"]
    assert rates["detection_rate"] < 0.2


def test_few_processes_give_no_rates() -> None:
    noisy = only(replay.replay([session(0, processes=3), session(1, processes=3)]))["noise"]
    assert noisy == {"why": "6 processes: 10 are the least from which noise is drawn"}


def pair_session(number: int, spread: float, log_ratio: float = 0.0) -> list[records.Record]:
    """The two arms of a session of 12 pairs whose rounds took turns, both drifting by 5 % from pair to pair."""
    drift = 0.05 * noise.draw("normal", (12, 1), seed=number)
    noises = spread * noise.draw("normal", (2, 12, 1), seed=1000 + number)
    arms = 0.5 * np.exp(drift + noises / math.sqrt(2) + np.array([0.0, log_ratio])[:, np.newaxis, np.newaxis])
    found = []
    for name, seconds in zip(("old", "new"), arms, strict=True):
        rows = [
            records.measurement(process=i, seconds=list(map(float, rounds)), interleaved=True)
            for i, rounds in enumerate(seconds)
        ]
        base = records.bench(*rows, code=name)
        found.append({**base, "session": f"p{number}", "arm": name, "created": f"2026-01-0{number + 1}T00:00:00+00:00"})
    return found


def test_rates_of_pairs_are_on_pairs_without_their_sessions_difference() -> None:
    history = [record for i in range(3) for record in pair_session(i, PERCENT, 0.04)]
    cell = only(replay.replay(history, resamples=100))
    assert cell["sessions"] == 3, "the old arm is other code and no part of the line"
    assert (cell["noise"]["method"], cell["noise"]["pool"]) == ("paired", 36)
    assert cell["noise"]["alarm_rate"] <= stats.binom.isf(1e-4, 100, 0.01) / 100
    assert cell["noise"]["detection_rate"] >= stats.binom.ppf(1e-4, 100, 0.95) / 100


def test_noise_without_its_mean_is_as_large_as_it_was_drawn() -> None:
    """Exact in the mean: the mean square is the unbiased variance."""
    values = noise.draw("normal", (4,), seed=11)
    found = replay.without_mean(values)
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert (found**2).mean() == pytest.approx(values.var(ddof=1))


def proof(spread: float) -> records.Record:
    """A record of the clock's own trial: two comparisons with itself, one with a planted slowdown that is not noise."""
    trials = []
    for number, planted in enumerate((0.0, 0.5, 0.0)):
        logs = spread * noise.draw("normal", (10,), seed=number)
        pairs = [
            {"old": [0.5, 0.5], "new": [0.5 * (1 + planted) * math.exp(one)] * 2, "conditions": [{}, {}]}
            for one in logs
        ]
        trials.append(
            {"planted": planted, "disturbed": False, "seconds": 1.0, "verdict": {"label": "x"}, "pairs": pairs}
        )
    return {"schema": 1, "kind": "proof", "effect": 0.03, "case": "x", "mode": "graph", "trials": trials}


def test_noise_of_the_clocks_own_trial_is_replayed_as_it_stands() -> None:
    cell = only(replay.replay_proof(proof(PERCENT), resamples=100))
    assert cell["noise"]["pool"] == 20, "planted slowdowns are no noise"
    assert cell["noise"]["alarm_rate"] <= stats.binom.isf(1e-4, 100, 0.01) / 100
    assert cell["noise"]["detection_rate"] >= stats.binom.ppf(1e-4, 100, 0.95) / 100


def test_trials_are_judged_anew_with_the_pairs_that_would_have_been_enough() -> None:
    """Ten pairs were recorded, and eight decide; what they took is a share of what all ten did."""
    record = proof(0.1 * PERCENT)
    found = replay.judged(record)["trials"]
    assert [(t["verdict"]["label"], len(t["pairs"]), t["seconds"]) for t in found] == [
        ("equivalent", 8, 0.8), ("slower", 8, 0.8), ("equivalent", 8, 0.8),
    ]  # fmt: skip
    assert [trial["verdict"]["label"] for trial in record["trials"]] == ["x"] * 3
    wide = [t for t in replay.judged(proof(20 * PERCENT))["trials"] if t["verdict"]["label"] == "inconclusive"]
    assert wide
    assert all((len(t["pairs"]), t["seconds"]) == (10, 1.0) for t in wide), "undecided: with all there are"


def test_pairs_that_the_machine_spoilt_are_left_out_of_resampled_comparisons() -> None:
    """A third of the pairs lost half of their time to other guests: nothing may be said."""
    record = proof(PERCENT)
    for trial in record["trials"]:
        for pair in trial["pairs"][:5]:
            pair["conditions"] = [{"wall_seconds": 2.0, "stolen_seconds": 1.0}] * 2
    rates = only(replay.replay_proof(record, resamples=50))["noise"]
    assert rates["detection_rate"] < 0.1


def test_pair_that_a_gate_refused_makes_comparisons_incomparable_that_draw_it() -> None:
    """One of 20: a comparison of 8 or more pairs is without it with probability 0.95⁸ = 66 % at most."""
    record = proof(0.001)
    record["trials"][0]["pairs"][3] |= {"old": [], "conditions": [{}, {}]}
    found = replay.replay_proof(record, resamples=200)
    noise = only(found)["noise"]
    assert (noise["pool"], noise["refused"]) == (20, 1)
    assert noise["alarm_rate"] == 0
    assert abs(noise["detection_rate"] - 0.95**8) < stats.norm.isf(1e-4) * math.sqrt(0.25 / 200)
    assert found["rivals"][0]["pairs"] == 19, "rivals lose nothing by it"
    assert "(20 pairs, 1 of them refused by a gate)" in "\n".join(replay.lines(found))


def test_same_seed_gives_the_same_rates_and_the_record_is_json() -> None:
    history = [session(i, spread=0.02) for i in range(4)]
    one, other = (replay.replay(history, resamples=50, seed=3) for _ in range(2))
    assert one["cells"] == other["cells"]
    json.dumps(one, allow_nan=False)


def test_lines_name_alarms_steps_and_rates() -> None:
    history = [session(i, 0.05 * (i >= 12), code=f"code{i >= 12}") for i in range(24)]
    text = "\n".join(replay.lines(replay.replay(history, resamples=20)))
    assert "1 alarms at 3.0% in 23 comparisons of sessions, 0 of them among the 22 of unchanged code" in text
    assert "slower at 2026-01-13T00:00:00+00:00 (code codeTrue)" in text
    assert "step at 2026-01-13T00:00:00+00:00 (code codeTrue), with an alarm: ratio 1.0" in text
    assert "on recorded noise (120 processes)" in text


def test_nothing_to_replay_is_no_success() -> None:
    assert replay.exit_code(replay.replay([])) == 3
    assert replay.exit_code(replay.replay([session(0, processes=2)])) == 3
    assert replay.exit_code(replay.replay([session(0), session(1)], resamples=5)) == 0


@pytest.mark.parametrize("effect", [0.0, 1.0, math.nan])
def test_impossible_effect_is_refused(effect: float) -> None:
    with pytest.raises(BenchmarkError, match="between 0 and 1"):
        replay.replay([], effect)
