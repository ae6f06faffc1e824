"""Writing so that nothing is lost: a file appears complete under its name, or the one before it stays.

Everything goes to a temporary name in the same folder, reaches the disk, and is then renamed over the old file, which
POSIX does in one step: a crash, a full disk or Ctrl-C leaves the last good file and at most a stray temporary one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ddpm_bench.errors import ConfigError


def output_folder(path: Path | str) -> Path:
    """The folder `path`, made if it is not there.

    Raises `ConfigError` where it cannot be made or nothing can be written into it, before any work is spent.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder / "probe")
        probe.touch()
        probe.unlink()
    except FileExistsError:
        raise ConfigError(f"cannot write into {folder}: it is a file; name a folder") from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def output_files(*paths: Path | None) -> None:
    """See that each of `paths` that is not None can be written, its folder made if it is not there.

    Raises `ConfigError` before any work is spent.
    """
    for path in paths:
        if path is not None:
            output_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path to write to; when the block ends without an error the file takes the name `path`.

    The temporary path keeps the suffix of `path`, which tells image writers their format. Raises `ConfigError` for
    what the file system refuses.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        temporary.touch()
        readers = temporary.stat().st_mode
        yield temporary
        temporary.chmod(readers)  # safetensors 0.8 makes files that only their owner may read
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process picks."""
    return path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}{path.suffix}")


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror or error}; choose a place that can be written to")
