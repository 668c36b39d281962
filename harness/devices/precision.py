"""Choose the arithmetic of the networks, and find out what a device can compute in by doing it once."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator  # type: ignore[import-untyped]

from datasets.errors import InputError
from harness.runs.runtime import Precision

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What x86 and Arm processors call it in /proc/cpuinfo."""
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
logger = logging.getLogger(__name__)


def chosen_precision(precision: Precision, *, use_cuda: bool, before: Precision | None = None) -> Precision:
    """What ``precision`` means on this device, for a run that has computed in ``before`` so far.

    Raises:
        InputError: where the device cannot compute in it, or would compute in something else.
    """
    if precision == "auto" and before is not None:
        try:
            return chosen_precision(before, use_cuda=use_cuda)
        except InputError as error:
            raise InputError(f"the run began in {before}: {error}; give --precision to change it") from None
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if use_cuda else cpu_has_bf16()
    if precision == "auto":
        return "bf16" if has_bf16 and not arithmetic_problem("bf16", "cuda" if use_cuda else "cpu") else "fp32"
    if use_cuda:
        too_old = precision == "tf32" and torch.cuda.get_device_capability() < (8, 0)
        if too_old or (precision == "bf16" and not has_bf16):
            raise InputError(f"precision {precision}: {torch.cuda.get_device_name()} cannot do it; use fp16 or fp32")
        return precision
    if precision in ("fp16", "tf32"):
        raise InputError(f"precision {precision} needs a GPU: on the CPU it would silently be fp32; use bf16 or fp32")
    problem = arithmetic_problem(precision, "cpu")
    if problem:
        raise InputError(f"precision {precision}: this processor cannot compute in it ({problem}); use fp32 or auto")
    if precision == "bf16" and not has_bf16:
        logger.info("this processor has no arithmetic for bfloat16 and emulates it, at half the speed of fp32")
    return precision


def precision_reason(asked: Precision, chosen: str, before: Precision | None) -> str:
    """Why a run computes in ``chosen``, in words."""
    if asked != "auto":
        return "as asked" if before in (None, chosen) else f"as asked; its steps so far were in {before}"
    if before is not None:
        return "in which it began"
    return "auto: the device computes in bfloat16" if chosen == "bf16" else "auto: the device has no bfloat16"


def own_precision(recorded: str, device: str) -> Precision:
    """The ``recorded`` precision of a run where ``device`` (auto, cpu, cuda) can compute in it, else fp32."""
    if recorded not in DTYPES:
        return "fp32"
    try:
        use_cuda = device != "cpu" and torch.cuda.is_available()
        return chosen_precision(cast("Precision", recorded), use_cuda=use_cuda)
    except InputError:
        return "fp32"


@cache
def arithmetic_problem(precision: str, device: str) -> str:
    """Why a small convolution, forward and backward, fails on ``device`` in ``precision``; empty when it works."""
    kind, dtype = device.partition(":")[0], DTYPES[precision]
    try:
        images = torch.ones((1, 3, 32, 32), device=device).to(memory_format=torch.channels_last)
        weight = torch.ones((8, 3, 3, 3), device=device, requires_grad=True)
        with torch.autocast(kind, dtype, enabled=dtype is not torch.float32):
            planes = F.conv2d(images, weight)
        planes.float().sum().backward()  # type: ignore[no-untyped-call]
        torch.isfinite(weight.grad).all().item()  # type: ignore[arg-type]  # waits for a GPU
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return ""


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bfloat16; True where nothing can be read of it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return flags is None or not BF16_FLAGS.isdisjoint(flags.split())


def set_cuda_arithmetic(precision: Precision) -> None:
    """Make float32 what it says, and convolutions such that they give the same bits in every run.

    By default PyTorch lets convolutions in float32 round to tf32, and cuDNN choose algorithms that add in no fixed
    order; a resumed run would then not end as the one that was never stopped.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def effective_precision(accelerator: Accelerator) -> str:
    """Arithmetic that the networks really run in: fp32, tf32, bf16 or fp16."""
    if accelerator.native_amp:
        return str(accelerator.mixed_precision)
    rounds = accelerator.device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "tf32" if rounds else "fp32"
