"""A stranger's reading of a report: parse the page, derive every marked number again from its records, and compare.

Shares nothing with the code that renders: only the page's text, its embedded JSON and the meaning of `data-from`
(benchmarks/marks.py) are used.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
from scipy import stats

CONSTANTS = {"confidence": 0.95, "power": 0.95, "alpha": 0.01, "shortest": 15, "p50": 50, "p90": 90, "p99": 99}
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "GiB": 2.0**30, "MiB": 2.0**20, "KiB": 2.0**10, "B": 1.0,
         "%": 0.01, "GFLOP/s": 1e9, "GB/s": 1e9, "": 1.0}  # fmt: skip
_NUMBER = re.compile(r"([+-]?)(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(\S*)")
_VOID = {"meta", "link", "br", "img", "use", "path", "rect", "input", "hr"}


@dataclass
class Reader(HTMLParser):
    """Collects marked texts, texts outside of marks that hold a digit, texts of pictures, and the records."""

    marked: list[tuple[list[Any], str]] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    script: str = ""
    stack: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = {key: value or "" for key, value in attributes}
        if "data-from" in known:
            self.marked.append((json.loads(known["data-from"]), ""))
        if tag not in _VOID:
            self.stack.append((tag, known))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """An element without content holds no text."""

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags = {tag for tag, _ in self.stack}
        if "script" in tags:
            self.script += data
        elif any("data-from" in known for _, known in self.stack):
            source, text = self.marked[-1]
            self.marked[-1] = (source, text + data)
        elif "svg" in tags and "style" not in tags:
            axis = any(re.search(r"[xy]tick_", known.get("id", "")) for _, known in self.stack)
            if re.search(r"\d", data) and not (axis and _is_number(data)):
                self.drawn.append(data.strip())
        elif re.search(r"\d", data) and not tags & {"style", "svg"}:
            self.unmarked.append(data.strip())


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[−-]?\d+(\.\d+)?(e[+-]?\d+)?", text.strip()))


def faults(page: str) -> list[str]:
    """One sentence for each number on the page that is unmarked, or that its records do not give."""
    reader = Reader()
    reader.feed(page)
    records = json.loads(reader.script)
    strings = _strings(records)
    known = "\n".join(strings)
    found = [f"unmarked: {text}" for text in reader.unmarked]
    for text in reader.drawn:
        found += [f"drawn and in no record: {w}" for w in text.split() if re.search(r"\d", w) and w not in known]
    for source, text in reader.marked:
        told = fault(source, text, records, strings)
        if told:
            found.append(told)
    return found


def _strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {str(key) for key in value} | {text for each in value.values() for text in _strings(each)}
    if isinstance(value, list):
        return {text for each in value for text in _strings(each)}
    return {" ".join(str(value).split())}


def fault(source: list[Any], text: str, records: list[Any], strings: set[str]) -> str | None:
    """Why the printed `text` is not what its `source` gives, or None."""
    shown = " ".join(text.split())
    if source[0] == "text":
        return None if shown in strings else f"quoted from nowhere: {shown}"
    if source[0] == "unverified":
        return None if all(w in " ".join(strings) for w in re.findall(r"\d[\w.]*", shown) if not w.isdigit()) else shown
    value = derive(source, records)
    if isinstance(value, str) and not _numeric(value, shown):
        return None if " ".join(value.split()) == shown else f"{source}: {value!r} is shown as {shown!r}"
    if value is None:
        return None if shown in ("None", "n/a") else f"{source}: nothing is shown as {shown!r}"
    return None if agrees(shown, float(value)) else f"{source}: {value} is shown as {shown!r}"


def _numeric(value: str, shown: str) -> bool:
    return value in ("inf", "nan", "-inf") and value == shown


def agrees(shown: str, value: float) -> bool:
    """Whether the shown number is `value` rounded to the digits that are shown."""
    if not math.isfinite(value):
        return shown == str(value)
    match = _NUMBER.fullmatch(shown)
    if not match or match[3] not in UNITS:
        return False
    scale, (digits, _, exponent) = UNITS[match[3]], match[2].partition("e")
    decimals = len(digits.partition(".")[2]) - int(exponent or 0)
    printed = float(match[1] + match[2])
    return abs(printed - value / scale) <= 0.5 * 10.0**-decimals * (1 + 1e-9) + 1e-12 * abs(value / scale)


def derive(source: list[Any], records: list[Any]) -> Any:
    """What the records say of `source`."""
    what, *rest = source
    if what == "constant":
        return CONSTANTS[rest[0]]
    record, *path = rest
    value = records[record]
    if what in ("at", "length"):
        for key in path:
            value = value[key]
        return len(value) if what == "length" else value
    if what == "count":
        return sum(all(entry[k] == v for k, v in path[1].items()) for entry in value[path[0]])
    if what == "kinds":
        return len({entry[path[1]] for entry in value[path[0]]})
    if what in ("layers", "layers shown"):
        return min(len(value["layers"]), 20 if what == "layers shown" else math.inf)
    if what == "bandwidth":
        return max(peak["best"] for name, peak in value["peaks"].items() if name.startswith("copy"))
    if what == "kernels shown":
        return min(40, len(value["kernels"]["changes"]))
    if what == "operators":
        rows = value["measurements"]
        return len(
            {(r["case"], *(r["params"][k] for k in ("device", "mode", "tuning"))) for r in rows if r["unit"] == "calls"}
        )
    known = {
        "cell": cell, "layer": layer, "percentile": percentile, "explained": explained, "compile": compiling,
        "time": time, "divided": divided, "part": part,
    }  # fmt: skip
    return known[what](value, *path)


def _cells(record: Any) -> list[tuple[tuple[Any, ...], list[Any]]]:
    keys: dict[tuple[Any, ...], list[Any]] = {}
    for row in record["measurements"]:
        keys.setdefault((row["case"], *(row["params"][k] for k in ("device", "mode", "tuning"))), []).append(row)
    return list(keys.items())


def compiling(record: Any, index: int, state: str) -> float:
    """The median over processes that found the cache of graphs in this state."""
    found = [row for row in _cells(record)[index][1] if row["params"].get("compile_cache") == state]
    return statistics.median(row["split"]["compile"] for row in found)


def percentile(record: Any, index: int, which: str, name: str) -> float:
    """By SciPy's binomial law: bounds are the sorted calls that the quantile lies between with 95 %, or below."""
    _, rows = _cells(record)[index]
    calls, share = sorted(s for row in rows for s in row["seconds"]), int(which[1:]) / 100
    ranks, tail = range(1, len(calls) + 1), stats.binom(len(calls), share)
    if name == "value":
        return calls[min(k for k in ranks if k / len(calls) >= share) - 1]
    lows = [k for k in ranks if tail.cdf(k - 1) <= 0.025]
    if name == "low":
        return calls[max(lows) - 1]
    highs = [k for k in ranks if tail.sf(k - 1) <= 0.025]
    if not (lows and highs):
        highs = [k for k in ranks if tail.sf(k - 1) <= 0.05]
    return calls[min(highs) - 1]


def explained(record: Any, index: int, name: str) -> float:
    """Sums over the layers of one case and setting, and the median of the whole's processes."""
    owners = list(dict.fromkeys(tuple(e[k] for k in ("case", "device", "mode", "tuning")) for e in record["layers"]))
    parts = math.fsum(
        statistics.median(e["seconds"])
        for e in record["layers"]
        if tuple(e[k] for k in ("case", "device", "mode", "tuning")) == owners[index]
    )
    if name == "parts":
        return parts
    if name == "least":
        others = ("copy", "convolution")
        peak = max(p["best"] for source, p in record["peaks"].items() if not source.startswith(others))
        width = max(p["best"] for source, p in record["peaks"].items() if source.startswith("copy"))
        return math.fsum(
            max((e["flops"] or 0) / peak, e["bytes"] / width)
            for e in record["layers"]
            if tuple(e[k] for k in ("case", "device", "mode", "tuning")) == owners[index]
        )
    rows = dict(_cells(record))[owners[index]]
    whole = statistics.median(statistics.median(row["seconds"]) for row in rows if row["invalid"] is None)
    return whole if name == "whole" else whole - parts


def cell(record: Any, index: int, name: str) -> Any:
    """A field of the `index`-th cell of a bench `record`."""
    key, found = _cells(record)[index]
    valid = [row for row in found if row["invalid"] is None]
    if name == "invalid":
        return "; ".join(dict.fromkeys(row["invalid"] for row in found if row["invalid"]))
    if name in ("case", "setting"):
        return key[0] if name == "case" else ", ".join(key[1:])
    logs = [math.log(statistics.median(row["seconds"])) for row in valid]
    mean, n = statistics.fmean(logs), len(logs)
    middle = math.exp(mean)
    rate = valid[0]["flops"] / middle if valid[0]["flops"] else math.nan
    simple = {
        "seconds": middle, "rate": valid[0]["work"] / middle, "gflops": rate / 1e9, "flops_per_second": rate,
        "processes": n, "rounds": len(valid[0]["seconds"]),
        "compile_seconds": max(0.0, statistics.median(r["first_call_seconds"] for r in valid) - middle),
        "peak_rss_bytes": max(r["peak_rss_bytes"] or 0 for r in valid),
        "cpu_over_wall": statistics.median(r["cpu_over_wall"] for r in valid),
    }  # fmt: skip
    if name in simple:
        return simple[name]
    if name == "fraction_of_peak":
        others = ("copy", "convolution")
        return rate / max(p["best"] for source, p in record["peaks"].items() if not source.startswith(others))
    of_mean, degrees = _remembering(n)
    error = statistics.stdev(logs) * math.sqrt(of_mean)
    if name in ("low", "high"):
        unseen = 0.0175 * min(1.0, stats.norm.ppf(0.975) * math.sqrt(_sum_of_correlations(n)) / n)
        half = max(stats.t.ppf(0.975, degrees) * error, unseen)
        return math.exp(mean - half if name == "low" else mean + half)
    assert name == "detectable"
    return _detectable(error * math.sqrt(2), 2 * degrees)


def _sum_of_correlations(n: int) -> float:
    """Σ 2^−|i−j| over n processes, whose memory is one half."""
    return sum(0.5 ** abs(i - j) for i in range(n) for j in range(n))


def _remembering(n: int) -> tuple[float, float]:
    """Variance of the mean over the expected sample variance, and the degrees of freedom of that, from its two moments.

    s² is a sum of squares of independent normal numbers with the eigenvalues of the centred covariance for variances.
    """
    centring = np.eye(n) - 1 / n
    covariance = np.array([[0.5 ** abs(i - j) for i in range(n)] for j in range(n)])
    eigenvalues = np.linalg.eigvalsh(centring @ covariance @ centring)
    expected = eigenvalues.sum() / (n - 1)
    return _sum_of_correlations(n) / n**2 / expected, eigenvalues.sum() ** 2 / (eigenvalues**2).sum()


def _detectable(error: float, degrees: float) -> float:
    """The slowdown that a one-sided t-test at 1 % finds 19 times in 20, by halving."""
    low, high = 0.0, math.log(1000)
    for _ in range(60):
        middle = (low + high) / 2
        found = stats.nct.sf(stats.t.ppf(0.99, degrees), degrees, middle / error)
        low, high = (low, middle) if found >= 0.95 else (middle, high)
    return math.expm1(high)


def layer(record: Any, index: int, name: str) -> float:
    """The median seconds of a layer, its rate in GFLOP/s, or its share of the layers of its case."""

    def owner(entry: Any) -> tuple[Any, ...]:
        return tuple(entry[key] for key in ("case", "device", "mode", "tuning"))

    entry = record["layers"][index]
    seconds = statistics.median(entry["seconds"])
    if name == "seconds":
        return seconds
    if name == "gflops":
        return float(entry["flops"] / seconds / 1e9)
    return seconds / sum(statistics.median(e["seconds"]) for e in record["layers"] if owner(e) == owner(entry))


def time(record: Any, index: int, name: str) -> Any:
    """The middle of a build's time of a cell, or a bound of its interval, from each process's median."""
    nothing = {"flops": None, "work": 1, "first_call_seconds": 0.0, "peak_rss_bytes": 0, "cpu_over_wall": 0.0}
    place = {"case": "", "params": dict.fromkeys(("device", "mode", "tuning"), ""), "invalid": None}
    rows = [{**nothing, **place, "seconds": [value]} for value in record["times"][index]["values"]]
    return cell({"measurements": rows}, 0, name)


def divided(record: Any, index: int, by: str, name: str) -> float:
    """What layers or kernels leave of a difference, in seconds or as a share, or the share that they sum to."""
    whole = record["attribution"][index]
    difference = whole["new"] - whole["old"]
    left = difference - sum(each["new"] - each["old"] for each in whole[by])
    return float({"left": left, "left share": left / difference, "share": 1 - left / difference}[name])


def part(record: Any, index: int, by: str, place: int, name: str) -> float:
    """What one kind of layer or kernel adds to a difference, in seconds or as a share."""
    whole = record["attribution"][index]
    difference = whole[by][place]["new"] - whole[by][place]["old"]
    return float(difference if name == "difference" else difference / (whole["new"] - whole["old"]))
