"""Where a printed number comes from: each stands in an element whose `data-from` says how to derive it.

The attribute is a JSON list, and means a place in the page's element `records` (a list of records, numbered from 0):

    ["at", r, key, …]             the value at this path of record r, a number or a text that is quoted
    ["count", r, list, {key: v}]  how many entries of the list in record r have these values
    ["kinds", r, list, key]       how many different values of `key` its entries have
    ["cell", r, i, name]          of the i-th cell of a bench record, in order of first appearance: a field of `Row`
    ["layer", r, i, name]         of the i-th entry of `layers` in a bench record: its median "seconds", "rate", "share"
    ["percentile", r, i, p, name] of all rounds of the i-th cell: "value", "low" or "high" of the percentile p
    ["explained", r, k, name]     of the k-th cell in `layers`: "parts" together, the "whole" call, "between", "least"
    ["compile", r, i, state]      of the i-th cell: seconds of compiling, median of processes in that state of the cache
    ["kernels shown", r]          how many exchanged kernels a sweep's page lists: all, up to a limit
    ["operators", r]              how many cells of a bench record are single operators
    ["time", r, i, name]          of the i-th entry of `times`: "seconds", "low" or "high", as a `Row` has them
    ["divided", r, i, by, name]   of the i-th entry of `attribution`, divided by "parts" or "kernels": what is "left" in
                                  seconds, the "left share", the "share" they sum to
    ["part", r, i, by, j, name]   of the j-th of these: "difference", or its "share" of the whole one
    ["constant", name]            a number that is a rule of the clock and no measurement

A test reads the page as a stranger would, derives each number again and fails for one that differs or has no mark.
"""

from __future__ import annotations

import json

from markupsafe import Markup


def mark(text: object, *source: object) -> Markup:
    """`text` in an element that says where it comes from."""
    return Markup('<span data-from="{}">{}</span>').format(json.dumps(source, ensure_ascii=False), text)


def plain(marked: Markup) -> str:
    """The text of `marked` as a reader sees it."""
    return marked.striptags()


def script(value: object) -> Markup:
    """`value` as JSON that an HTML script element can hold: nothing in it ends the element or opens another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&'"}))  # noqa: S704  # escaped on this line
