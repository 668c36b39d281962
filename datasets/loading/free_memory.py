"""Measure how many bytes one more data set may take on a device."""

from __future__ import annotations

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

DEVICE_SHARE = 0.4
"""Of the free memory of a GPU; the rest is for the network, its gradients and its activations."""
HOST_SHARE = 0.25
"""Of the free memory of the host, over all processes of a launcher together."""
CGROUP_ROOT = Path("/sys/fs/cgroup")


def room_for_pages(device: torch.device) -> int:
    """Bytes that pages may take on ``device``: a share of what is free at this moment."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * DEVICE_SHARE)
    return int(free_host_memory() * HOST_SHARE) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def free_host_memory() -> int:
    """Bytes that this process could still take: what the system has, within the limit of its control group."""
    free = int(psutil.virtual_memory().available)
    left = _left_in_cgroup(CGROUP_ROOT)
    return free if left is None else min(free, left)


def _left_in_cgroup(root: Path) -> int | None:
    """Bytes below the memory limit of this process's control group, as SLURM and containers set it; None if none."""
    names = (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory"))
    left = []
    for limit_name, used_name, controller in names:
        for folder in _own_groups(root, controller):
            try:
                limit = (folder / limit_name).read_text(encoding="ascii").strip()
                used = (folder / used_name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            if limit.isdigit() and used.isdigit():
                left.append(max(0, int(limit) - int(used)))
    return min(left, default=None)


def _own_groups(root: Path, controller: str) -> list[Path]:
    """Folders of the control group that this process is in and of all groups above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else controllers == "":
            own = root / controller / path.lstrip("/")
            return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return []
