"""The ledger's figures mean what they say, the file keeps its history, and changes are told in a sentence each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_bench import kernel_record
from ddpm_bench.errors import ConfigError
from ddpm_bench.kernel_record import PRECISION, changes, figures, hull, lines, read, record, unit_in_last_place, write
from ddpm_bench.probe import ProbeError

ROW: dict[str, Any] = {"op": "tanh", "dtype": "float32", "device": "CPU", "mode": "graph", "reach": 8.0}
ROW |= {"points": 3, "truth": "float64", "ulps": 2.0, "at": [1.0], "relative": 1e-7, "absolute": 1e-7}
ROW |= {"hull": [[1.0, 1e-7]], "not_finite": 0, "digest": "a"}


def row(**changed: Any) -> dict[str, Any]:
    return {**ROW, **changed}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_unit_in_the_last_place_is_numpys_spacing(dtype: str) -> None:
    """At normal numbers, powers of two and their neighbours among them."""
    least = float(np.finfo(dtype).tiny)
    numbers = np.array([least, 0.1, np.nextafter(1, 0), 1, 1.5, 2, 3, 1000.0]).astype(dtype)
    numbers = np.append(numbers, np.nextafter(numbers, np.array(np.inf, dtype)))
    assert (unit_in_last_place(numbers.astype(float), dtype) == np.spacing(numbers).astype(float)).all()


def test_unit_in_the_last_place_of_bfloat16_is_that_of_seven_stored_bits() -> None:
    assert unit_in_last_place(np.array([1.0, 0.0]), "bfloat16").tolist() == [2.0**-7, 2.0**-133]


def test_figures_of_known_errors() -> None:
    x = np.array([1.0, 2.0, 3.0, 0.0])
    error = np.array([2.0**-23, 2.0**-24, 0.0, 2.0**-149])
    found = figures(x + 1, error, np.array([1.0, 4.0, 1.0, 0.0]), "float32", [x])
    assert (found["points"], found["ulps"], found["at"]) == (4, 1.0, [1.0])
    assert (found["relative"], found["absolute"], found["not_finite"]) == (2.0**-23, 2.0**-23, 0)


def test_results_outside_the_types_range_are_left_out() -> None:
    size = np.array([1.0, 1e-40, 1e39, float(np.finfo(np.float32).max)])
    found = figures(size, np.array([0.0, 1e-40, np.inf, 0.0]), size, "float32")
    assert (found["points"], found["ulps"], found["not_finite"]) == (2, 0.0, 0)


def test_result_that_is_no_number_is_counted_and_spoils_no_figure() -> None:
    found = figures(np.array([1.0, np.nan]), np.array([0.0, np.inf]), np.ones(2), "float32")
    assert (found["points"], found["not_finite"], found["ulps"]) == (1, 1, 0.0)
    json.dumps(found, allow_nan=False)


def test_hull_decides_every_linear_bound_as_all_the_points_do() -> None:
    """The least `absolute` that a slope needs is the same from the corners as from 2000 points, for 300 slopes."""
    rng = np.random.default_rng(1)
    size, error = rng.lognormal(sigma=4, size=2000), rng.lognormal(sigma=4, size=2000)
    corners = np.array(hull(size, error))
    assert len(corners) < 40
    for slope in [0.0, *rng.lognormal(sigma=6, size=300)]:
        needed = max(np.max(error - slope * size), 0.0)
        assert max(np.max(corners[:, 1] - slope * corners[:, 0]), 0.0) == pytest.approx(needed, rel=1e-12)


def test_hull_of_equal_sizes_is_the_worst_of_them() -> None:
    assert hull(np.ones(3), np.array([1.0, 3.0, 2.0])) == [[1.0, 3.0]]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (row(), row(), None),
        (row(), row(digest="b"), "other bits, 2 ulps as before"),
        (row(), row(digest="b", ulps=3.0), "2 → 3 ulps, worse"),
        (row(), row(digest="b", ulps=1.0), "2 → 1 ulps, better"),
        (row(ulps=0.0), row(digest="b"), "0 → 2 ulps, worse"),
        (row(), {**{key: ROW[key] for key in kernel_record.KEY}, "unsupported": "no"}, "is supported no more"),
        ({**{key: ROW[key] for key in kernel_record.KEY}, "unsupported": "no"}, row(), "is supported now, 2 ulps"),
        (row(), row(reach=9.0), "is measured no more"),
    ],
)
def test_change_is_told_in_a_sentence(before: dict[str, Any], now: dict[str, Any], told: str | None) -> None:
    found = changes([before], [now])
    if told is None:
        assert not found
    else:
        assert found[0] == f"tanh up to 8, float32, graph on CPU: {told}"


def test_file_keeps_the_record_before_and_says_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    assert read(file) is None
    for digest in "aabc":
        write(file, record([row(digest=digest)], read(file), {"mindspore": digest}))
    found = read(file)
    assert found is not None
    assert [each["environment"]["mindspore"] for each in [found, *found["history"]]] == ["c", "b", "a", "a"]
    assert [len(each["changes"]) for each in [found, *found["history"]]] == [1, 1, 0, 0]
    assert not any("history" in each for each in found["history"])
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.json"]


def test_history_is_cut_at_its_end() -> None:
    last = None
    for _ in range(kernel_record.KEPT + 3):
        last = record([row()], last, {})
    assert last is not None
    assert len(last["history"]) == kernel_record.KEPT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a ledger of kernels"),
        ('{"schema": 1, "kind": "bench"}', "is not a ledger of kernels"),
        ('{"schema": 2, "kind": "kernels"}', "schema 2"),
        ('{"schema": 1, "kind": "kernels", "kernels": [{}], "history": []}', "damaged"),
        ('{"schema": 1, "kind": "kernels", "kernels": []}', "damaged"),
    ],
)
def test_other_file_is_refused_in_a_sentence_and_kept(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read(file)
    assert file.read_text() == text


def test_process_that_dies_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: str) -> Any:
        raise ProbeError("ended by signal 11")

    monkeypatch.setattr(kernel_record, "ask", die)
    with pytest.raises(ConfigError, match="could not be measured: ended by signal 11"):
        kernel_record.measured(None, {}, lambda _: None)


def test_table_shows_the_worst_mode_and_where_modes_differ() -> None:
    absent = {**{key: ROW[key] for key in kernel_record.KEY}, "dtype": "bfloat16", "unsupported": "no"}
    other = row(mode="pynative", ulps=3.0, digest="b")
    half = row(dtype="float16", ulps=0.5)
    table = lines({"kernels": [row(), other, half, absent], "changes": ["tanh: worse"]})
    assert table[0].split() == ["ulps", "up", "to", *PRECISION]
    assert table[1].split() == ["tanh", "8", "—", "3≠", "0.5", "—"]
    assert all(len(line) <= 82 for line in table)
    assert table[-2:] == ["changed: tanh: worse", "no kernel is worse than the judge allows for"]
