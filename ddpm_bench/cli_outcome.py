"""What becomes of a command: its exit code, or one sentence on stderr and the code that goes with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from ddpm_bench import interruption
from ddpm_bench.errors import DdpmBenchError
from ddpm_bench.terminal import complain


def outcome(run: Callable[[], object]) -> int:
    """The exit code of `run`, a click command that is not standalone; every expected error becomes a sentence."""
    with interruption.watched():
        try:
            return _outcome(run)
        except Exception:
            if not interruption.came():  # MindSpore makes an error of its own of Ctrl-C while it compiles
                raise
            return complain("interrupted", 130)


def _outcome(run: Callable[[], object]) -> int:
    try:
        code = run()
        sys.stdout.flush()  # here, where a reader that has gone is no error
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as request:
        return int(request.exit_code)
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "ddpm-bench"
        return complain(f"{error.format_message().rstrip('.')}; see `{verb} --help`", 2)
    except (DdpmBenchError, click.ClickException) as error:
        return complain(error.message if isinstance(error, click.ClickException) else str(error), 2)
    except BrokenPipeError:  # the reader of our output (`| head`) has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit:
        if "PacifyFlushWrapper" not in type(sys.stdout).__name__:  # click's answer to the same, public or not
            raise
        return 0
    except (click.Abort, KeyboardInterrupt) as stop:
        return complain(str(stop.__cause__ or stop) or "interrupted", 130)  # click hides ours behind an Abort
