"""Reckon whether a GPU on which runs train has room for another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.executors.placement import query_gpus
from launch.executors.process import RunProcess
from launch.grids.grid import GridRun
from launch.plan.cost import network_size

CONTEXT_BYTES = 1 << 30
"""What a process takes of a GPU beside its tensors: CUDA's context and libraries."""
MARGIN = 1.25
"""Memory that torch holds, over the most that its tensors ever filled."""
RETRY_S = 2.0
"""Time between two looks at a GPU for the same run."""


def free_gpu_bytes(gpu: str) -> int | None:
    """Free memory of a GPU, named as in CUDA_VISIBLE_DEVICES; None where nvidia-smi does not tell."""
    text = "".join(query_gpus("memory.free", "-i", gpu))
    return int(text) << 20 if text.isdecimal() else None


@dataclass(kw_only=True)
class GpuRoom:
    """Lets a run in beside others on a GPU once these have trained an epoch and what they leave free is enough."""

    runs_dir: Path
    note: Callable[[str], None]
    """Tells the user, once for each run and GPU, why it waits."""
    free_bytes: Callable[[str], int | None] = free_gpu_bytes
    _asked: dict[tuple[str, str], float] = field(default_factory=dict)

    def admits(self, run: GridRun, gpu: str | None, neighbours: Sequence[tuple[GridRun, RunProcess]]) -> bool:
        """Whether the run may start now; always on a GPU of its own, and on the CPU, which is no GPU (None)."""
        if gpu is None or not neighbours:
            return True
        key = (gpu, run.run_id)
        if time.monotonic() - self._asked.get(key, -RETRY_S) < RETRY_S:
            return False
        why = self._why_not(run, gpu, neighbours)
        if why and key not in self._asked:
            self.note(f"{run.name} waits to share GPU {gpu}: {why}")
        self._asked[key] = time.monotonic()
        return not why

    def _why_not(self, run: GridRun, gpu: str, neighbours: Sequence[tuple[GridRun, RunProcess]]) -> str:
        needed = 0.0
        for other, process in neighbours:
            peak = self._peak_bytes(other, process)
            if peak is None:
                return f"{other.name} has not trained an epoch yet, so what it takes is not known"
            needed = max(needed, MARGIN * peak * max(1.0, load(run.config) / load(other.config)))
        free = self.free_bytes(gpu)
        if free is None or free >= needed + CONTEXT_BYTES:
            return ""
        return f"{free / 1e9:.1f} GB are free, it takes about {(needed + CONTEXT_BYTES) / 1e9:.1f} GB"

    def _peak_bytes(self, run: GridRun, process: RunProcess) -> int | None:
        """Most memory that a run's tensors filled since this start; None before the end of its first epoch."""
        folder = RunFolder(self.runs_dir / run.run_id)
        status = folder.status()
        if status.get("images_per_s") is None or status.get("updated", 0.0) < time.time() - process.seconds:
            return None
        peaks = [record.get("peak_cuda_bytes") for record in folder.metrics()]
        return int(peaks[-1]) if peaks and peaks[-1] is not None else None


def load(config: RunConfig) -> float:
    """What a run's memory goes with: pixels of a batch, times what the network costs."""
    pixels = config.schedule.micro_batch * config.data.image_size**2
    return pixels * network_size(config.network.name)[0]
