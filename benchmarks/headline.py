"""The first line of a report: is this DDPM correct on this machine, and how fast is it."""

from __future__ import annotations

from markupsafe import Markup

from benchmarks.content import Page
from benchmarks.formats import number, seconds
from benchmarks.marks import mark, plain
from benchmarks.summary import Row, tally

HEADLINE_CASES = ("unet_forward[cifar10", "training_step[cifar10", "unet_forward", "training_step")
"""What "how fast" means in the first line: the first of these that was timed, the paper's net before others."""


def headline(content: Page) -> str:
    """The first line as plain text."""
    return plain(marked(content))


def marked(content: Page) -> Markup:
    """The first line, each number with its source."""
    return Markup(" ").join(part for part in (_correctness(content), _speed(content)) if part)


def _correctness(content: Page) -> Markup:
    if content.verify is None:
        return Markup("Not verified.")
    counts, at = tally(content.verify["findings"]), content.index("verify")
    total, passed = sum(counts.values()), counts.get("passed", 0)
    if not total:
        return Markup("Not verified: no check was run.")
    if passed == total:
        return Markup("Correct on this machine: {} on {} passed.").format(
            _different(content, "check"), _different(content, "subject")
        )
    others = Markup(", ").join(
        Markup("{} {}").format(mark(count, "count", at, "findings", {"status": status}), status.replace("_", " "))
        for status, count in counts.items()
        if status != "passed"
    )
    verdict = "Incorrect" if counts.get("failed") or counts.get("error") else "Not fully verified"
    return Markup("{} on this machine: {}, {} of {} findings passed.").format(
        verdict, others, mark(passed, "count", at, "findings", {"status": "passed"}),
        mark(total, "count", at, "findings", {}),
    )  # fmt: skip


def _different(content: Page, thing: str) -> Markup:
    """How many different ones there are, in words: "78 checks"."""
    count = len({finding[thing] for finding in (content.verify or {})["findings"]})
    many = mark(count, "kinds", content.index("verify"), "findings", thing)
    return Markup("{} {}").format(many, thing if count == 1 else f"{thing}s")


def _speed(content: Page) -> Markup:
    timed = [(i, row) for i, row in enumerate(content.rows) if row.seconds]
    if not timed:
        return Markup("Nothing was timed.") if content.bench else Markup("")
    for start in HEADLINE_CASES:
        found = [(i, row) for i, row in timed if row.case.startswith(start)]
        if found:
            return _speed_of(content, *min(found, key=lambda each: each[1].seconds or 0.0))
    return _speed_of(content, *timed[0])


def _speed_of(content: Page, index: int, row: Row) -> Markup:
    def of(text: str, name: str) -> Markup:
        return mark(text, "cell", content.index("bench"), index, name)

    parts = [
        Markup("{}{} takes {} ({}, {})").format(
            "UNVERIFIED: " if content.unverified else "", of(row.case, "case"), of(seconds(row.seconds), "seconds"),
            row.device, row.mode,
        ),
        Markup("{} {}/s").format(of(number(row.rate), "rate"), row.unit),
    ]  # fmt: skip
    if row.fraction_of_peak and row.flops_per_second:
        rate = of(f"{number(row.flops_per_second / 1e9)} GFLOP/s", "flops_per_second")
        parts += [rate, Markup("{} of the matrix peak").format(of(f"{row.fraction_of_peak:.0%}", "fraction_of_peak"))]
    return Markup("{}.").format(Markup(", ").join(parts))
