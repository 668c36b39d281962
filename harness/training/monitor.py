"""What a person sees while a run trains: steps come in; a note on speed and time left, and peak memory, go out."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from datasets.progress import Advance


@dataclass(kw_only=True)
class Watch:
    """Tells progress of every step; all that it says is known on the host."""

    advance: Advance
    """Draws the bar or prints the line."""
    images: int
    """Training images that are left at the start, over all epochs."""
    _done: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def step(self, images: int, *, epoch: int, waited_s: float, seconds: float, mean_auroc: float | None) -> None:
        """Another step of ``images`` images is done.

        Args:
            images: over all processes.
            epoch: under way, from 0.
            waited_s: seconds of this epoch without a batch to work on.
            seconds: of this epoch so far.
            mean_auroc: last one on validation.
        """
        self._done += images
        left_s = (time.perf_counter() - self._started) / self._done * max(0, self.images - self._done)
        note = f"epoch {epoch + 1}, {waited_s / max(seconds, 1e-9):.1%} waiting for data, {clock(left_s)} left"
        if mean_auroc is not None:
            note += f", validation AUROC {mean_auroc:.4f}"
        self.advance(images, note)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def peak_memory() -> dict[str, Any]:
    """Most memory of this process so far: resident bytes, and the GPU's allocated bytes (None without CUDA)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_cuda_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }
