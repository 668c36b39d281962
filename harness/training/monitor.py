"""Progress, peak memory and a profiler trace of a run that trains."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from datasets.progress import Advance
from harness.runs.train_state import TrainState


@dataclass(kw_only=True)
class ProgressMonitor:
    """Tells progress of every step; all that it says is known on the host."""

    advance: Advance
    """Draws the bar or prints the line."""
    images: int
    """Training images that are left at the start, over all epochs."""
    _done: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def step(self, images: int, state: TrainState, *, waiting: float) -> None:
        """Tell of another step of ``images`` images; ``waiting`` is the share of the epoch spent without data."""
        self._done += images
        left_s = (time.perf_counter() - self._started) / self._done * max(0, self.images - self._done)
        note = f"epoch {state.epoch + 1}, {waiting:.1%} waiting for data, {clock(left_s)} left"
        if state.history and state.history[-1].mean_auroc is not None:
            note += f", validation AUROC {state.history[-1].mean_auroc:.4f}"
        self.advance(images, note)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def peak_memory() -> dict[str, Any]:
    """Most memory of this process so far: resident bytes, and the GPU's allocated bytes (None without CUDA)."""
    return {
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_cuda_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


WAIT_STEPS, WARM_UP_STEPS, TRACED_STEPS = 1, 1, 3


@contextmanager
def step_trace(path: Path | None) -> Iterator[Callable[[], None]]:
    """Yield a function to be called after every step; with a path, steps 2 to 4 (from 0) are traced into that file.

    A run with fewer steps is traced as far as it goes.
    """
    if path is None:
        yield lambda: None
        return

    def export(trace: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        trace.export_chrome_trace(str(path))

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    plan = schedule(wait=WAIT_STEPS, warmup=WARM_UP_STEPS, active=TRACED_STEPS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=export, record_shapes=True) as tracer:
        yield tracer.step
