"""What a device can do, measured, and what a training step asks of it, counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step.cycles import settled

MATMUL_SIDE = {"cpu": 512, "cuda": 8192}
COPIED_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}
CALLS = {"cpu": 3, "cuda": 50}
ROUNDS = 3


def device_rates(device: torch.device) -> dict[str, float]:
    """Rates of this device by measurement, each the best of ``ROUNDS``.

    Returns:
        ``matmul_per_s``: floating-point operations of a large product of matrices, in bfloat16 or float32, whichever
        is faster: processors without bfloat16 of their own compute in it more slowly; ``bytes_per_s``: bytes that a
        large copy within the device's memory reads and writes.
    """
    side, size = MATMUL_SIDE[device.type], COPIED_BYTES[device.type]
    matrices = [torch.ones((side, side), dtype=dtype, device=device) for dtype in (torch.bfloat16, torch.float32)]
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "matmul_per_s": 2.0 * side**3 / min(_seconds(partial(torch.mm, one, one), device) for one in matrices),
        "bytes_per_s": 2.0 * size / _seconds(lambda: target.copy_(source), device),
    }


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of one call, the least of the means of ``ROUNDS`` rounds."""
    found = []
    for _ in range(1 + ROUNDS):
        started = settled(device)
        for _ in range(CALLS[device.type]):
            call()
        found.append((settled(device) - started) / CALLS[device.type])
    return min(found[1:])


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations read and write, as if each of them were one kernel; views move none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if not function.is_view:
            moved = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in moved)
        return made


def work_of(step: Callable[[], object]) -> dict[str, float]:
    """Floating-point operations of a step's products and convolutions, and the bytes that its operations move."""
    with Traffic() as traffic, FlopCounterMode(display=False) as counter:
        step()
    return {"flops": float(counter.get_total_flops()), "bytes": float(traffic.bytes)}


def milliseconds(call: Callable[[], object], device: torch.device, times: int) -> float:
    """Mean milliseconds of a call that is made so many times in a row."""
    started = settled(device)
    for _ in range(times):
        call()
    return 1e3 * (settled(device) - started) / times
