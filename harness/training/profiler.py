"""A torch profiler trace of a few training steps: steps come in; a file for chrome://tracing or Perfetto goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

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
