"""What probes found out, in the user's cache folder, so that it is measured once for a MindSpore build and machine.

    ~/.cache/ddpm-bench/NAME.json       {"schema": n, NAME: {key: what was found}}
    ~/.cache/ddpm-bench/NAME.json.lock  held while somebody measures

A cache is a convenience: what cannot be read, or is of another schema, is measured anew, and one that cannot be written
is no failure. Imports no MindSpore.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from ddpm_bench.errors import ConfigError
from ddpm_bench.files import replacing

LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Cache:
    """The file called after `name`, whose entries mean what they mean in version `schema`."""

    name: str
    schema: int

    @property
    def path(self) -> Path:
        """Where the user's variables, such as XDG_CACHE_HOME, say."""
        return Path(platformdirs.user_cache_dir("ddpm-bench")) / f"{self.name}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file, so that of two processes one measures; without the lock if it cannot be had."""
        lock = filelock.FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError:  # filelock.Timeout is one
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def entries(self) -> dict[str, Any]:
        """All there is, by key: anything that JSON can hold, since anybody may have written it."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(record, dict) or record.get("schema") != self.schema:
            return {}
        entries = record.get(self.name)
        return entries if isinstance(entries, dict) else {}

    def keep(self, key: str, entry: Any) -> None:
        """Add an `entry`, the whole file or nothing."""
        record = {"schema": self.schema, self.name: {**self.entries(), key: entry}}
        with contextlib.suppress(OSError, ConfigError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
