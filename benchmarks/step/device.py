"""Wait for a device, and read its peak memory."""

from __future__ import annotations

import resource
import time

import torch

from harness.devices.precision import chosen_precision

VALIDATION_BATCHES = {"cpu": 64, "cuda": 256}
"""Images of a validation step, in ours and in the careful loop; the plain one takes its training batch."""


def mixed_dtype(device: torch.device) -> torch.dtype:
    """What ours and the careful loop compute in: bfloat16 where the device has arithmetic for it, else float32."""
    precision = chosen_precision("auto", use_cuda=device.type == "cuda")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def settled(device: torch.device) -> float:
    """Seconds of the clock when all that the device was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of tensors on a GPU, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
