"""Say what decides the bits that a training step or a prediction gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from harness.devices.accelerator import Accelerator
from harness.devices.precision import effective_precision


def arithmetic(accelerator: Accelerator) -> dict[str, Any]:
    """Kind of device, torch's threads on a CPU, precision, processes and torch version: equal ones give equal bits.

    The kind of a GPU is its model, that of a CPU its model and vector instructions.
    """
    on_gpu = accelerator.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(accelerator.device) if on_gpu else cpu_kind(),
        "threads": None if on_gpu else torch.get_num_threads(),
        "precision": effective_precision(accelerator),
        "processes": accelerator.num_processes,
        "torch": torch.__version__,
    }


def cpu_kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as Linux names it, and the vector instructions that torch and oneDNN use of it."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        text = ""
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    parts = [
        facts.get("model name", "CPU"),
        *(f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts),
        torch.backends.cpu.get_cpu_capability(),
        *([f"oneDNN up to {limit}"] if limit else []),
    ]
    return ", ".join(parts)
