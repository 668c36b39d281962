"""Wait for a device, time a few batches on it, and read its peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from functools import partial
from typing import TypeVar

import torch

from benchmarks.step.cycles import Cycles
from harness.devices.precision import chosen_precision

Item = TypeVar("Item")


def mixed_dtype(device: torch.device) -> torch.dtype:
    """What ours and the careful loop compute in: bfloat16 where the device has arithmetic for it, else float32."""
    precision = chosen_precision("auto", use_cuda=device.type == "cuda")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def settled(device: torch.device) -> float:
    """Seconds of the clock when all that the device was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def cycles_on(device: torch.device, stream: Iterator[Item], steps: int, *, passes_last: bool = False) -> Cycles[Item]:
    """``steps`` batches of a stream, timed until the device has done what they asked of it."""
    return Cycles(stream, steps, passes_last=passes_last, settled=partial(settled, device))


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of tensors on a GPU, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
