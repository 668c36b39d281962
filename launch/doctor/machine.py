"""Check this machine's cores, memory, open files, disks and GPUs; a machine without a GPU is well."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from datasets.loading.threads import usable_cores
from launch.doctor.finding import GIGA, Finding, fail, ok, warn
from launch.executors import mps
from launch.executors.placement import nvidia_smi, query_gpus

if TYPE_CHECKING:
    from harness.devices.check import GpuFacts, TorchFacts

LEAST_MEMORY, GOOD_MEMORY = 2 * GIGA, 8 * GIGA
LEAST_SHARED = 64 << 20
"""What a container gets without being asked."""
GOOD_FILES = 1024
LEAST_DISK, GOOD_DISK = 1 * GIGA, 20 * GIGA
CGROUP = Path("/sys/fs/cgroup")


def check_machine() -> Iterator[Finding]:
    """Cores, memory, /dev/shm, open files."""
    yield check_cores(usable_cores(), os.cpu_count() or 1, cgroup_cores(CGROUP), os.environ)
    yield check_memory(psutil.virtual_memory().available, cgroup_memory(CGROUP))
    yield check_shared_memory(Path("/dev/shm"))
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def check_cores(usable: int, present: int, quota: float | None, environment: Mapping[str, str]) -> Finding:
    """Cores that this process may use, by its affinity mask, and by its container's share of time."""
    text = f"{usable} of {present} cores usable"
    if quota is not None and quota < usable:
        what = f"{text}, but the container gets the time of {quota:g}"
        return warn("cores", what, f"--num-threads {max(1, int(quota))} and --num-workers {max(1, int(quota))}")
    if usable == 1 and "SLURM_JOB_ID" in environment:
        what = f"{text}: SLURM binds this task to one core"
        return warn("cores", what, "ask for --cpus-per-task, and give it to srun, too; a cluster profile does both")
    if usable == 1 and present > 1:
        return warn("cores", text, "lift the binding (taskset, cgroup), or expect slow loading")
    return ok("cores", text)


def check_memory(available: int, limit: int | None) -> Finding:
    """Memory in bytes that is free, and the container's limit."""
    free = available if limit is None else min(available, limit)
    text = f"{free / GIGA:.1f} GiB of memory free" + ("" if limit is None else f" (limit {limit / GIGA:.1f} GiB)")
    if free < LEAST_MEMORY:
        return fail("memory", text, "end other programs, or ask for more: training takes 2 GiB at least")
    if free < GOOD_MEMORY:
        return warn("memory", text, "use a smaller batch, or --tier raw, if a run is killed for want of memory")
    return ok("memory", text)


def check_shared_memory(folder: Path) -> Finding:
    """Room in /dev/shm, through which NCCL and other loaders pass data between processes."""
    if not folder.is_dir():
        return warn("/dev/shm", f"{folder} is absent", "mount a tmpfs there for training by several processes")
    total = shutil.disk_usage(folder).total
    text = f"{total / GIGA:.2f} GiB in {folder}"
    fix = "docker run --shm-size 1g (or --ipc host), for training by several processes"
    return warn("/dev/shm", text, fix) if total <= LEAST_SHARED else ok("/dev/shm", text)


def check_open_files(limit: int) -> Finding:
    """The soft limit of open files."""
    text = "no limit" if limit == resource.RLIM_INFINITY else f"at most {limit:,} open files"
    few = limit != resource.RLIM_INFINITY and limit < GOOD_FILES
    return warn("open files", text, f"ulimit -n {GOOD_FILES * 4}") if few else ok("open files", text)


def check_folder(role: str, folder: Path) -> Finding:
    """Room and the right to write in a folder, or where it would be made."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not place.is_dir():
        return fail(role, f"{place} is a file", f"give another {role}")
    free = shutil.disk_usage(place).free
    text = f"{folder}: {free / GIGA:,.1f} GiB free" + ("" if place == folder.absolute() else " (not made yet)")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return fail(role, f"{place}: cannot be written ({error.strerror})", f"give a {role} of your own")
    if free < LEAST_DISK:
        return fail(role, text, f"make room, or give another {role}: a run takes about 0.2 GiB")
    if free < GOOD_DISK:
        return warn(role, text, "CheXpert's beton takes 15 GB, and the paper's grid of runs about 60 GB")
    return ok(role, text)


def cgroup_cores(root: Path) -> float | None:
    """Cores' worth of time that the container may use; None without a limit."""
    quota, period = (*_read(root / "cpu.max").split(), "", "")[:2]
    if not quota:
        quota, period = (_read(root / f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and int(quota) and period.isdigit() else None


def cgroup_memory(root: Path) -> int | None:
    """Bytes of memory that the container may use; None without a limit."""
    text = _read(root / "memory.max") or _read(root / "memory/memory.limit_in_bytes")
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def check_gpu() -> Iterator[Finding]:
    """The driver, torch's CUDA, each GPU, nvJPEG."""
    from harness.devices.check import check_device

    yield from judge(check_device(), re.findall(r"^GPU \d+: (.+?) \(UUID", nvidia_smi(), re.MULTILINE))


def check_mps() -> Iterator[Finding]:
    """By what means runs can share a GPU; nothing on a machine without one."""
    modes = query_gpus("compute_mode")
    if not modes:
        return
    if "Prohibited" in modes:
        yield fail("mps", "compute mode Prohibited: no run can use that GPU", "nvidia-smi -c DEFAULT, as root")
    running = mps.answers({}) if shutil.which(mps.CONTROL) else False
    where = os.environ.get(mps.PIPE, str(mps.DEFAULT_PIPE))
    if running:
        yield ok("mps", f"a daemon answers at {where}; runs compute through it, --mps or not")
    elif mps.PIPE in os.environ:
        yield fail("mps", f"{mps.PIPE} names {where}, where no daemon answers", f"unset {mps.PIPE}, or start one")
    elif "Exclusive_Process" in modes:
        what = "compute mode Exclusive_Process: a GPU takes one run at a time"
        yield warn("mps", what, "cxr grid submit --runs-per-gpu 2 --mps, or nvidia-smi -c DEFAULT, as root")
    elif shutil.which(mps.CONTROL):
        yield ok("mps", f"{mps.CONTROL} is here; runs that share a GPU can use --mps")
    else:
        yield ok("mps", f"no {mps.CONTROL} on the PATH: runs that share a GPU take turns")


def judge(torch: TorchFacts, driver: list[str]) -> Iterator[Finding]:
    """Findings of what torch sees beside the GPUs that the driver names."""
    for number, gpu in enumerate(torch.gpus):
        yield from _judge_one(number, gpu)
    if torch.gpus:
        return
    built = "a build without CUDA" if torch.built_for is None else f"built for CUDA {torch.built_for}"
    if not driver:
        yield ok("gpu", f"no GPU here; runs train on the CPU (torch is {built})")
        return
    seen = f"the driver names {len(driver)} ({driver[0]}), but torch sees none"
    if torch.built_for is None:
        yield fail("gpu", f"{seen}: it is {built}", "pip install torch built for CUDA (pytorch.org)")
    else:
        fix = f"check CUDA_VISIBLE_DEVICES, and that the driver is new enough for CUDA {torch.built_for}"
        yield fail("gpu", f"{seen}{f': {torch.why_none}' if torch.why_none else ''}", fix)


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
