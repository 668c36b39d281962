"""Set up the device, the processes and the threads of a run."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator as Accelerator  # type: ignore[import-untyped]
from accelerate.utils import DistributedDataParallelKwargs, gather_object  # type: ignore[import-untyped]

from datasets.errors import InputError
from datasets.loading.threads import usable_cores
from datasets.malloc import malloc_tuning
from harness.devices.precision import chosen_precision, set_cuda_arithmetic
from harness.runs.runtime import Precision, RuntimeConfig, launched_processes


def make_accelerator(runtime: RuntimeConfig, before: Precision | None = None) -> Accelerator:
    """Accelerator on the wanted device in the wanted precision, over all processes that the launcher started.

    ``before`` is the precision in which the run has computed so far, which "auto" keeps.

    Raises:
        InputError: for CUDA where there is none, a precision that the device cannot do, or another number of
            processes than the one asked for.
        RuntimeError: when the launcher's processes did not find each other: each would train alone and overwrite
            the others' files.
    """
    use_cuda = _uses_cuda(runtime)
    started = launched_processes()
    if runtime.num_processes not in (None, started):
        raise InputError(
            f"num_processes = {runtime.num_processes}, but {started} were started; start as many, or leave the "
            "option out to take what the launcher started"
        )
    if use_cuda:
        point_at_own_gpu(started)
    precision = chosen_precision(runtime.precision, use_cuda=use_cuda, before=before)
    mixed = "no" if precision in ("fp32", "tf32") else precision
    # Batch norm statistics are the first process's; ``predict`` gives them to the others.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    with warnings.catch_warnings():  # of threads, which are set below
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
        accelerator = Accelerator(cpu=not use_cuda, mixed_precision=mixed, kwargs_handlers=[parallel])
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"the launcher started {started} processes (WORLD_SIZE) but {accelerator.num_processes} found each other"
        )
    if accelerator.device.type != ("cuda" if use_cuda else "cpu"):
        raise RuntimeError(f"asked for {'cuda' if use_cuda else 'cpu'}, got {accelerator.device}")
    set_torch_threads(runtime)
    if use_cuda and started > 1:
        refuse_shared_gpus()
    if use_cuda:
        set_cuda_arithmetic(precision)
    else:
        # By default the C library returns large blocks to the system, which clears new ones for the next step: a
        # fifth of the time of a DenseNet step on the CPU.
        malloc_tuning(mmap_threshold=1 << 30, kept_bytes=(1 << 31) - 1)
    return accelerator


def check_enough_gpus(num_processes: int) -> None:
    """Raise InputError when torch sees fewer GPUs than processes that are to share them on this machine."""
    count = torch.cuda.device_count()
    if 0 < count < num_processes:
        raise InputError(
            f"{num_processes} processes on this machine, but torch sees {count} GPUs; start at most {count} processes"
        )


def point_at_own_gpu(started: int) -> None:
    """Make LOCAL_RANK this process's place among the GPUs that it sees, as Accelerate and DDP take it; use that GPU.

    What is tried before, such as bfloat16, would be tried on the first one, where each process then had a context.
    """
    if torch.cuda.device_count() > 1:
        check_enough_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", started)))
    elif "LOCAL_RANK" in os.environ:
        # A GPU for each task, the only one that it sees: srun --gpus-per-task=1, containers.
        os.environ["LOCAL_RANK"] = "0"
    if "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def refuse_shared_gpus() -> None:
    """Raise InputError when two processes have one GPU, of which NCCL would complain obscurely; a collective call."""
    group: Any = torch.distributed.new_group(backend="gloo")  # NCCL itself cannot be asked
    own = f"{socket.gethostname()}: {torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    gpus: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gpus, own, group=group)
    if len(set(gpus)) < len(gpus):
        raise InputError(
            f"{len(gpus)} processes, but {len(set(gpus))} GPUs: two processes have the same one; start as many "
            "processes as there are GPUs"
        )


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


def set_torch_threads(runtime: RuntimeConfig) -> None:
    """Give torch this process's share of the cores; ``import ffcv`` and its loaders change the setting silently."""
    wanted = runtime.num_threads or _share_of_cores()
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


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
