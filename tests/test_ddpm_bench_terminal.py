"""Colour is for people who see it."""

from __future__ import annotations

import sys

import pytest

from ddpm_bench.terminal import tinted


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_terminal_gets_colour(terminal: None) -> None:
    assert tinted("FAILED", "red") == "\x1b[31mFAILED\x1b[0m"


def test_pipe_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert tinted("FAILED", "red") == "FAILED"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminal_that_asks_for_none_gets_none(
    terminal: None, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert tinted("FAILED", "red") == "FAILED"
