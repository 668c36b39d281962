"""Device, precision and threads of one process: a RuntimeConfig comes in, an Accelerator goes out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator as Accelerator  # type: ignore[import-untyped]
from accelerate.utils import gather_object  # type: ignore[import-untyped]

from datasets.errors import InputError
from datasets.kernels.threads import usable_cores
from harness.runs.messages import note
from harness.runs.runtime import Precision, RuntimeConfig

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What x86 and Arm processors call it in /proc/cpuinfo."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def make_accelerator(runtime: RuntimeConfig) -> Accelerator:
    """Accelerator on the wanted device in the wanted precision, over all processes that the launcher started.

    Raises:
        InputError: for CUDA where there is none, a precision that the device cannot do, or another number of
            processes than the one asked for.
        RuntimeError: when the launcher's processes did not find each other: each would train alone and overwrite
            the others' files.
    """
    use_cuda = _uses_cuda(runtime)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if runtime.num_processes not in (None, started):
        raise InputError(
            f"num_processes = {runtime.num_processes}, but {started} were started; start as many, or leave the "
            "option out to take what the launcher started"
        )
    precision = chosen_precision(runtime.precision, use_cuda=use_cuda)
    mixed = "no" if precision in ("fp32", "tf32") else precision
    accelerator = Accelerator(cpu=not use_cuda, mixed_precision=mixed)
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"the launcher started {started} processes (WORLD_SIZE) but {accelerator.num_processes} found each other"
        )
    if accelerator.device.type != ("cuda" if use_cuda else "cpu"):
        raise RuntimeError(f"asked for {'cuda' if use_cuda else 'cpu'}, got {accelerator.device}")
    set_torch_threads(runtime)
    if use_cuda:
        set_cuda_arithmetic(precision)
    else:
        keep_freed_memory()
    return accelerator


def chosen_precision(precision: Precision, *, use_cuda: bool) -> Precision:
    """What ``precision`` means on this device.

    Raises:
        InputError: where the device would compute in something else.
    """
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if use_cuda else cpu_has_bf16()
    if precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    if precision == "bf16" and not use_cuda and not has_bf16:
        note("note: this processor has no arithmetic for bfloat16 and emulates it, at half the speed of fp32")
    if precision in ("fp16", "tf32") and not use_cuda:
        raise InputError(f"precision {precision} needs a GPU: on the CPU it would silently be fp32; use bf16 or fp32")
    if precision == "bf16" and use_cuda and not has_bf16:
        raise InputError(f"precision bf16: {torch.cuda.get_device_name()} cannot do it; use fp16 or fp32")
    if precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        raise InputError(f"precision tf32: {torch.cuda.get_device_name()} cannot do it; use fp16 or fp32")
    return precision


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


@contextmanager
def leaving_at_failure(accelerator: Accelerator) -> Iterator[None]:
    """Leave the process group when the body fails: the other processes' collectives then fail at once, too.

    Without it they would wait for this process, half an hour at the worst. On CUDA the group is left to the process's
    end, since NCCL's own way out waits for the others.
    """
    try:
        yield
    except BaseException:
        if accelerator.device.type == "cpu" and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        raise


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next tensors; where there is no glibc, nothing is changed.

    By default glibc gives large blocks back at once, and the kernel zeroes new ones at the next step: of the time of
    a DenseNet training step on the CPU a fifth.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def set_torch_threads(runtime: RuntimeConfig) -> None:
    """Give torch this process's share of the cores; ``import ffcv`` and its loaders change the setting silently."""
    wanted = runtime.num_threads or _share_of_cores()
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


def effective_precision(accelerator: Accelerator) -> str:
    """Arithmetic that the networks really run in: fp32, tf32, bf16 or fp16."""
    if accelerator.native_amp:
        return str(accelerator.mixed_precision)
    rounds = accelerator.device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "tf32" if rounds else "fp32"


def device_names(accelerator: Accelerator) -> list[str]:
    """Device of every process, for provenance: the GPU's model, or the CPU's thread count; a collective call."""
    if accelerator.device.type == "cuda":
        name = str(torch.cuda.get_device_name(accelerator.device))
    else:
        name = f"cpu, {torch.get_num_threads()} threads"
    return list(gather_object([name]))


def loader_threads(runtime: RuntimeConfig) -> int:
    """Threads of one loader of this process: what the user set, or the process's share of the cores."""
    return runtime.num_workers or _share_of_cores()


def _share_of_cores() -> int:
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _uses_cuda(runtime: RuntimeConfig) -> bool:
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: torch sees no GPU on this machine; use --device cpu or auto")
    return runtime.device != "cpu" and torch.cuda.is_available()
