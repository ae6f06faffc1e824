"""PyTorch as `timing.Machine` wants it, on one device, run in one of the ways of `peers.PEERS`.

On a CPU a call of PyTorch returns when it is done, so waiting is nothing; on a GPU it is `torch.cuda.synchronize`.
Proved all the same, as for MindSpore: twice the products take twice the time, and fetching costs nothing any more.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._dynamo.utils import counters

from benchmarks import peer_network
from benchmarks.gates import Invalid
from benchmarks.peers import Peer

DEVICES = {"CPU": "cpu", "GPU": "cuda"}

WEIGHTS = "import sys; from benchmarks.conftest import write_weights; write_weights(*sys.argv[1:])"
"""By a process of its own: two frameworks' threads in one process would meet in what is timed."""

WEIGHTS_SECONDS = 300

PRODUCTS, TRIES = 12, 11


@dataclass
class Torch:
    """PyTorch on the device `device`, as `peer` says."""

    device: str
    peer: Peer
    import_seconds: float
    _canary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `Invalid` where PyTorch has no such device."""
        if self.device not in DEVICES:
            raise Invalid(f"unavailable: PyTorch has no device {self.device}")
        self.place = torch.device(DEVICES[self.device])
        if self.place.type == "cuda" and not torch.cuda.is_available():
            raise Invalid("unavailable: this PyTorch sees no GPU")
        torch.backends.cudnn.allow_tf32 = False  # the default is true: half the digits of float32

    @property
    def mode(self) -> str:
        """What the calls have to be found to do, whatever mode MindSpore is compared in."""
        return "graph" if self.peer.compiled else "pynative"

    @property
    def settings(self) -> Mapping[str, str]:
        """What the row says of how PyTorch ran."""
        order = "channels last" if self.peer.channels_last else "contiguous"
        return {"torch": torch.__version__, "memory": order, "threads": str(torch.get_num_threads())}

    def synchronize(self) -> None:
        """Wait for everything launched so far."""
        if self.place.type == "cuda":
            torch.cuda.synchronize()

    def canary(self) -> Mapping[str, Any]:
        """Proof that waiting waits, made once a process."""
        if not self._canary:
            self._canary = self._proved()
        return self._canary

    def compile_count(self) -> int:
        """Graphs compiled so far."""
        return int(counters["stats"]["unique_graphs"])

    def peak_resident_memory(self) -> int | None:
        """Bytes, of the process."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` as it runs here."""
        if not self.peer.compiled:
            return function
        compiled: Callable[..., Any] = torch.compile(function)
        return compiled

    def network(self, preset: str, config: Any) -> tuple[Any, dict[str, Any]]:
        """The network of the `preset`, whose `UNetConfig` is `config`, with the weights of ours; these by our names."""
        built = peer_network.build(config)
        with tempfile.TemporaryDirectory(prefix="ddpm-bench-") as name:
            path = Path(name) / "weights.npz"
            command = [sys.executable, "-c", WEIGHTS, preset, str(path)]
            subprocess.run(command, check=True, timeout=WEIGHTS_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603 - ours
            with np.load(path, allow_pickle=False) as archive:
                weights = {each: archive[each] for each in archive.files}
        peer_network.load(built, weights)
        return built.to(self.place, memory_format=self.memory_format), weights

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and of convolutions' weights."""
        return torch.channels_last if self.peer.channels_last else torch.contiguous_format

    def images(self, x: Any) -> torch.Tensor:
        """(B, C, H, W) float32 on the device."""
        return torch.from_numpy(x).to(self.place).contiguous(memory_format=self.memory_format)

    def numbers(self, x: Any) -> torch.Tensor:
        """Anything else on the device."""
        return torch.from_numpy(np.asarray(x)).to(self.place)

    def placement(self, network: Any) -> dict[str, str]:
        """Where the parameters are, in the clock's words, and of what dtype."""
        names = {kind: name for name, kind in DEVICES.items()}
        return {
            "device": ",".join(sorted({names[each.device.type] for each in network.parameters()})),
            "dtype": ",".join(sorted({str(each.dtype).removeprefix("torch.") for each in network.parameters()})),
        }

    def _proved(self) -> dict[str, Any]:
        matrix = torch.full((512, 512), 1 / 512, device=self.place)
        self._chain(matrix, PRODUCTS)
        single, double, fetches = [], [], []
        for _ in range(TRIES):
            single.append(self._chain(matrix, PRODUCTS)[0])
            seconds, fetch = self._chain(matrix, 2 * PRODUCTS)
            double.append(seconds)
            fetches.append(fetch)
        ratio = statistics.median(two / one for one, two in zip(single, double, strict=True))
        seconds, fetch = statistics.median(single), min(fetches)
        holds = 1.5 <= ratio <= 2.7 and fetch < 0.25 * seconds
        return {"operators": PRODUCTS, "seconds": seconds, "seconds_fetch": fetch, "ratio": ratio, "holds": holds}

    def _chain(self, matrix: torch.Tensor, products: int) -> tuple[float, float]:
        """Seconds to launch so many products and wait for them, and then to fetch the last."""
        self.synchronize()
        start, product = time.perf_counter(), matrix
        for _ in range(products):
            product = product @ matrix
        self.synchronize()
        waited = time.perf_counter()
        product.cpu().numpy()
        return waited - start, time.perf_counter() - waited
