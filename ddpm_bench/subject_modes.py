"""The three ways in which `MindSporeSubject` makes a function of tensors run; its answers must not depend on which."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import mindspore as ms
from mindspore import Tensor, nn

from ddpm_bench.device import whole_graph


def _pynative(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself: operator by operator."""
    return function


def _whole_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a Cell under GRAPH_MODE, which is left again after each call."""
    cell = _Whole(function)

    def call(*args: Tensor) -> Any:
        with whole_graph():
            return cell(*args)

    return call


class _Whole(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """A function as a Cell, since GRAPH_MODE compiles nothing else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def construct(self, *args: Tensor) -> Any:
        return self.function(*args)


EXECUTE: Final[dict[str, Callable[[Any], Any]]] = {"graph": ms.jit, "pynative": _pynative, "whole_graph": _whole_graph}
"""How each mode makes a function or a Cell run."""


@functools.cache
def executable(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """`function` made to run in `mode`, once: whoever asks again shares what is compiled."""
    made: Callable[..., Any] = EXECUTE[mode](function)
    return made
