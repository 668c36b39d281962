"""Describe the machine, the versions and the commit that a figure was measured with."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import BENCH_VENV, ROOT
from harness.runs.provenance import git_state

PACKAGES = ("torch", "torchvision", "numpy", "numba", "ffcv", "opencv-python", "opencv-python-headless", "pillow")
PEERS = ("kornia-rs", "simplejpeg", "torchcodec", "spdl", "nvidia-dali-cuda130", "webdataset")
BENCH_PEERS = ("mosaicml-streaming", "litdata", "grain", "turboloader", "numpy")


def describe(command: list[str] | None = None) -> dict[str, Any]:
    """Hardware, system, versions, commit and the command line; by default that of ``cxr``."""
    state = git_state(ROOT)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(command or ["cxr", *sys.argv[1:]]),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpu_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {**versions((*PACKAGES, *PEERS)), **bench_versions()},
        "commit": "unknown" if state is None else state["commit"][:12] + " with changes" * state["dirty"],
        "load_average": load_average(),
    }


def load_average() -> float:
    """Processes that wanted to run, over the last minute."""
    return round(os.getloadavg()[0], 2)


def cpu_model() -> str:
    """Name of the processor, with family and model where the name says little."""
    fields: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def gpu_name() -> str | None:
    """Name of the first CUDA device."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def versions(names: Iterable[str], path: Sequence[str] = sys.path) -> dict[str, str]:
    """Versions of those packages that are installed, in this environment or in folders of another one."""
    found = ((name, metadata.distributions(name=name, path=list(path))) for name in names)
    return {name: one.version for name, several in found for one in islice(several, 1)}


def bench_versions() -> dict[str, str]:
    """Versions in ``.venv-bench``, marked as such."""
    found = versions(BENCH_PEERS, [str(path) for path in BENCH_VENV.glob("lib/python*/site-packages")])
    numpy = found.pop("numpy", "of the project")
    return {name: f"{version} (numpy {numpy})" for name, version in found.items()}
