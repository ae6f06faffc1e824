"""The ledger of kernel accuracy as a file: figures, format, history, and what changed since the last one.

    {"schema": 1, "kind": "kernels", "created": ISO-8601 UTC, "environment": {flat mapping},
     "kernels": [row, ...],
     "changes": [sentences: what differs from the newest record of `history`],
     "history": [earlier records, newest first, each without its own history]}

A row is {"op", "dtype", "device", "mode", "reach"}, and then either "unsupported" with what MindSpore said, or

    points      how many results were compared,
    truth       "float64" or "mpmath": what they were compared with,
    ulps        the largest error in units in the last place of the size that errors are relative to, and
    at          the arguments there (of operators that work number by number),
    relative    the largest error over that size,
    absolute    the largest error,
    hull        [[size, error], ...]: see below,
    not_finite  how many results were infinite or NaN where the truth is an ordinary number,
    digest      of the results' bits.

Answers outside the type's normal range are left out. The size is |f(x)| itself, or for sums the magnitudes of their
terms (`kernel_truth.py`).

The hull decides every bound of the form error <= relative * size + absolute. Such a bound is a straight line, so it
holds for all results if it holds for the corners of the upper left convex hull of their (size, error), and these are
few: a later and better ledger can be tried on an old measurement.

History of the layout. Schema 1: the first.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ddpm_bench.errors import ConfigError
from ddpm_bench.files import replacing
from ddpm_bench.probe import ProbeError, ask

Array = npt.NDArray[Any]
Record = dict[str, Any]

SCHEMA: Final = 1
KEY: Final = ("op", "dtype", "device", "mode", "reach")
KEPT: Final = 20
"""Earlier records that a file keeps."""

PRECISION: Final = {"float64": (53, -1022), "float32": (24, -126), "float16": (11, -14), "bfloat16": (8, -126)}
"""Of each type: digits of the significand, and the least exponent of a normal number."""

NOTICEABLE: Final = 1.01
"""A figure has changed if it did so by more than this factor; below, only the bits have."""


def unit_in_last_place(size: Array, dtype: str) -> Array:
    """The distance between neighbouring numbers of `dtype` around `size`."""
    digits, least = PRECISION[dtype]
    _, exponent = np.frexp(size)
    return np.ldexp(1.0, np.where(size > 0, np.maximum(exponent - 1, least), least) - (digits - 1))


def figures(computed: Array, error: Array, size: Array, dtype: str, arguments: Sequence[Array] = ()) -> Record:
    """The measured part of a row, from float64 arrays of one shape; `arguments` name the place of the worst."""
    digits, least = PRECISION[dtype]
    largest = np.ldexp(2 - 2.0 ** (1 - digits), 1 - least)
    ordinary = (size == 0) | ((size >= 2.0**least) & (size <= largest))
    finite = np.isfinite(error)
    used = ordinary & finite
    if not used.any():
        return {"unsupported": "no result in the type's range"}
    ulps = np.where(used, error, 0) / unit_in_last_place(size, dtype)
    worst = np.unravel_index(int(np.argmax(ulps)), ulps.shape)
    away = used & (size > 0)
    by_number = all(argument.shape == computed.shape for argument in arguments)
    return {
        "points": int(used.sum()),
        "truth": "mpmath" if dtype == "float64" else "float64",
        "ulps": float(ulps[worst]),
        "at": [float(argument[worst]) for argument in arguments] if by_number else [],
        "relative": float(np.max(error[away] / size[away])) if away.any() else 0.0,
        "absolute": float(np.max(error[used])),
        "hull": hull(size[used], error[used]),
        "not_finite": int((ordinary & ~finite).sum()),
        "digest": hashlib.sha256(np.ascontiguousarray(computed).tobytes()).hexdigest()[:16],
    }


def hull(size: Array, error: Array) -> list[list[float]]:
    """The corners of the upper left convex hull of the points (size, error), by size; see the module."""
    order = np.lexsort((-error, size))
    size, error = size[order], error[order]
    rising = np.concatenate([[True], error[1:] > np.maximum.accumulate(error)[:-1]])
    corners: list[list[float]] = []
    for point in zip(size[rising].tolist(), error[rising].tolist(), strict=True):
        while len(corners) > 1 and _below(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(list(point))
    return corners


def _below(left: Sequence[float], middle: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `middle` lies on or under the line from `left` to `right`."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])


def measured(before: Record | None, environment: Mapping[str, Any], tell: Callable[[str], None]) -> Record:
    """The record of a fresh process's kernels; see `record`. Raises `ConfigError` where MindSpore does not answer."""
    tell(f"measuring {len(PRECISION)} types of every operator against exact results, about a minute")
    try:
        answer = ask("kernels")
    except ProbeError as error:
        raise ConfigError(f"the kernels could not be measured: {error}") from None
    return record(answer["kernels"], before, environment)


def record(kernels: Iterable[Record], before: Record | None, environment: Mapping[str, Any]) -> Record:
    """The record of `kernels`, with what changed since the record `before` and that one kept in its history."""
    rows = list(kernels)
    history = []
    if before:
        history = [{key: value for key, value in before.items() if key != "history"}, *before["history"]][:KEPT]
    return {
        "schema": SCHEMA,
        "kind": "kernels",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": dict(environment),
        "kernels": rows,
        "changes": changes(before["kernels"], rows) if before else [],
        "history": history,
    }


def read(path: Path) -> Record | None:
    """The record in `path`, None if there is no such file. Raises `ConfigError` for a file that is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is not JSON, so not a ledger of kernels; name another file") from None
    if not isinstance(found, dict) or found.get("kind") != "kernels":
        raise ConfigError(f"{path} is not a ledger of kernels; name another file, so that this one is kept")
    if found.get("schema") != SCHEMA:
        raise ConfigError(
            f"{path} has schema {found.get('schema')!r} and this version writes schema {SCHEMA}; name another file"
        )
    rows, history = found.get("kernels"), found.get("history")
    if not isinstance(history, list) or not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise ConfigError(f"{path} is a damaged ledger of kernels; name another file")
    return found


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and set(KEY) <= set(row) and ("unsupported" in row or {"ulps", "digest"} <= set(row))


def write(path: Path, ledger: Record) -> None:
    """Write `ledger` to `path`, whole or not at all. Raises `ConfigError` where that is not possible."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(ledger, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes rows of two records the same thing."""
    return tuple(row[name] for name in KEY)


def changes(before: Iterable[Record], now: Iterable[Record]) -> list[str]:
    """One sentence for each row that is not what it was."""
    old, new = ({key_of(row): row for row in rows} for rows in (before, now))
    told = [(key, change(old.get(key), new.get(key))) for key in {**old, **new}]
    return [f"{label(dict(zip(KEY, key, strict=True)))}: {what}" for key, what in told if what]


def label(row: Mapping[str, Any]) -> str:
    """The row's key as a person reads it."""
    return f"{row['op']} up to {row['reach']:g}, {row['dtype']}, {row['mode']} on {row['device']}"


def change(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    """How a row differs from the one before, or nothing."""
    if old is None or new is None:
        return "is measured now" if old is None else "is measured no more"
    if ("unsupported" in old) != ("unsupported" in new):
        return "is supported no more" if "unsupported" in new else f"is supported now, {new['ulps']:.3g} ulps"
    if "unsupported" in new or old["digest"] == new["digest"]:
        return ""
    before, now = old["ulps"], new["ulps"]
    if _ratio(before, now) <= NOTICEABLE:
        return f"other bits, {now:.3g} ulps as before"
    return f"{before:.3g} → {now:.3g} ulps, {'worse' if now > before else 'better'}"


def _ratio(a: float, b: float) -> float:
    small, large = sorted((a, b))
    return 1.0 if large == small else math.inf if small <= 0 else large / small


def lines(ledger: Mapping[str, Any], worse: Sequence[str] = ()) -> list[str]:
    """For a terminal: operators down, types across, the largest error in ulps of any mode; then what changed.

    `worse`: sentences about the kernels that are worse than a judge allows for.
    """
    table: dict[tuple[str, float], dict[str, list[Record]]] = {}
    for row in ledger["kernels"]:
        table.setdefault((row["op"], row["reach"]), {}).setdefault(row["dtype"], []).append(row)
    head = f"{'ulps':10}{'up to':>7}" + "".join(f"{name:>11}" for name in PRECISION)
    body = [
        f"{op:10}{reach:>7g}" + "".join(f"{_cell(cells.get(name, [])):>11}" for name in PRECISION)
        for (op, reach), cells in table.items()
    ]
    legend = "the largest error in units in the last place; — not supported, ≠ the modes differ"
    changed = [f"changed: {change}" for change in ledger["changes"]]
    verdict = [f"worse than the judge allows for: {each}" for each in worse]
    return [head, *body, legend, *changed, *(verdict or ["no kernel is worse than the judge allows for"])]


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """What one operator does in one type: the worst of its modes."""
    measured_rows = [row for row in rows if "unsupported" not in row]
    if not measured_rows:
        return "—"
    alike = len({row.get("digest") for row in rows}) == 1
    return f"{max(row['ulps'] for row in measured_rows):.2g}{'' if alike else '≠'}"
