"""Check GPUs, as torch and the driver see them; a machine without one is well."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launch.doctor.finding import GIGA, Finding, fail, ok, warn

if TYPE_CHECKING:
    from harness.devices.check import GpuFacts, TorchFacts

TIMEOUT_S = 10.0


def check_gpu() -> Iterator[Finding]:
    """The driver, torch's CUDA, each GPU, nvJPEG."""
    from harness.devices.check import check_device

    yield from judge(check_device(), driver_gpus())


def judge(torch: TorchFacts, driver: list[str] | None) -> Iterator[Finding]:
    """Findings of what torch sees beside the GPUs that the driver names; None without a driver."""
    if torch.gpus:
        for number, gpu in enumerate(torch.gpus):
            yield from _judge_one(number, gpu)
        return
    if not driver:
        built = "a build without CUDA" if torch.built_for is None else f"built for CUDA {torch.built_for}"
        yield ok("gpu", f"no GPU here; runs train on the CPU (torch is {built})")
        return
    seen = f"the driver names {len(driver)} ({driver[0]}), but torch sees none"
    if torch.built_for is None:
        yield fail("gpu", f"{seen}: it is a build without CUDA", "pip install torch built for CUDA (pytorch.org)")
    else:
        why = f": {torch.why_none}" if torch.why_none else ""
        fix = f"check CUDA_VISIBLE_DEVICES, and that the driver is new enough for CUDA {torch.built_for}"
        yield fail("gpu", f"{seen}{why}", fix)


def _judge_one(number: int, gpu: GpuFacts) -> Iterator[Finding]:
    text = f"GPU {number}: {gpu.name}, {gpu.free_bytes / GIGA:.1f} of {gpu.memory_bytes / GIGA:.1f} GiB free"
    if gpu.problem:
        fix = "check nvidia-smi; install a driver for this torch, or a torch for this GPU"
        yield fail("gpu", f"{text}; it does not compute: {gpu.problem}", fix)
        return
    if gpu.free_bytes < gpu.memory_bytes // 2:
        yield warn("gpu", text, "another program holds its memory: see nvidia-smi")
    else:
        yield ok("gpu", f"{text}, {'bf16' if gpu.bf16 else 'no bf16: use --precision fp16'}")
    if gpu.nvjpeg:
        fix = "pip install torchcodec built for the same CUDA as torch; raw betons (--encoding raw) need no nvJPEG"
        yield warn("nvjpeg", gpu.nvjpeg, fix)
    else:
        yield ok("nvjpeg", f"GPU {number} decodes JPEGs")


def driver_gpus() -> list[str] | None:
    """Names of the GPUs by nvidia-smi; None where it is absent or does not answer."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
