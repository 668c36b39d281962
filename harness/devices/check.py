"""Look at the GPUs that torch sees: whether they compute and decode JPEGs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from datasets.loading.device_jpeg import decoding_problem
from harness.devices.precision import arithmetic_problem


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """One GPU."""

    name: str
    memory_bytes: int
    free_bytes: int
    bf16: bool
    """Whether it computes in bfloat16 by itself."""
    problem: str
    """Why a convolution on it fails; empty when it works."""
    nvjpeg: str
    """Why it decodes no JPEG; empty when it does."""


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """What torch was built for and sees."""

    built_for: str | None
    """CUDA version that torch was built with; None for a build without CUDA."""
    gpus: tuple[GpuFacts, ...]
    why_none: str
    """What torch says when it cannot use CUDA although it was built for it."""


def check_device() -> TorchFacts:
    """Try each GPU with a convolution, and nvJPEG with a tiny image."""
    why = ""
    if torch.version.cuda is not None and not torch.cuda.is_available():
        why = _why_none()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return TorchFacts(built_for=torch.version.cuda, gpus=tuple(map(_look, range(count))), why_none=why)


def _why_none() -> str:
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    return ""


def _look(number: int) -> GpuFacts:
    device = torch.device("cuda", number)
    facts = torch.cuda.get_device_properties(device)
    problem = arithmetic_problem("fp32", str(device))
    nvjpeg = "" if problem else decoding_problem(device)
    free = 0 if problem else torch.cuda.mem_get_info(device)[0]
    return GpuFacts(
        name=facts.name,
        memory_bytes=facts.total_memory,
        free_bytes=free,
        bf16=facts.major >= 8,
        problem=problem,
        nvjpeg=nvjpeg,
    )
