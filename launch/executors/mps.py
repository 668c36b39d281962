"""NVIDIA's Multi-Process Service, by which kernels of several runs fill one GPU at the same time.

A daemon of our own, on a private pipe directory, serves the GPUs of one command or job; its runs find it by two
variables. GPUs are named by UUID: a daemon that is shown a part of them numbers them anew for its clients.
https://docs.nvidia.com/deploy/mps
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import InputError
from launch.executors.placement import nvidia_smi

CONTROL = "nvidia-cuda-mps-control"
PIPE, LOG = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
DEFAULT_PIPE = Path("/tmp/nvidia-mps")
TIMEOUT_S = 30.0
FAULT = re.compile(r"CUDA error|cudaError|CUBLAS_STATUS_|CUDNN_STATUS_|CUDA driver error")
"""What a process says whose context is lost; too little memory is told in other words."""

logger = logging.getLogger(__name__)


@contextmanager
def mps_daemon(gpus: Sequence[str]) -> Iterator[dict[str, str]]:
    """Serve these GPUs, given by UUID, within a ``with`` block; yields what goes into each run's environment.

    A daemon that the environment names already is used as it is, and left running.

    Raises:
        InputError: when the service is not to be had, or does not start.
    """
    if PIPE in os.environ:
        logger.info(f"MPS: the daemon at {os.environ[PIPE]} is used, and left running")
        yield {}
        return
    if shutil.which(CONTROL) is None:
        raise InputError(f"MPS: {CONTROL} is not on the PATH; it comes with NVIDIA's driver. Go without MPS")
    # Not below the folder of runs: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="cxr-mps-") as name:
        places = {PIPE: f"{name}/pipe", LOG: f"{name}/log"}
        for place in places.values():
            Path(place).mkdir(mode=0o700)
        shown = {**places, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        problem = _failure(["-d"], "", shown) or _failure([], "get_server_list", shown)
        if problem:
            raise InputError(f"MPS: {CONTROL} does not start ({problem}); see cxr doctor, or go without MPS")
        try:
            yield places
        finally:
            problem = _failure([], "quit", shown)
            if problem:
                logger.warning(f"MPS: the daemon at {places[PIPE]} did not end: {problem}")


def answers(environment: Mapping[str, str]) -> bool:
    """Whether a daemon answers that a process with this environment would find."""
    return not _failure([], "get_server_list", environment)


def _failure(options: Sequence[str], words: str, environment: Mapping[str, str]) -> str:
    """Call the control program, tell it ``words``; return why that failed, in one line, or nothing."""
    try:
        done = subprocess.run(
            [CONTROL, *options],
            input=f"{words}\n",
            env={**os.environ, **environment},
            # Not pipes: the daemon would hold them open, and this call wait for its end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    logs = Path(environment.get(LOG, "")) / "control.log"
    said = logs.read_text(errors="replace").strip().splitlines() if LOG in environment and logs.is_file() else []
    return said[-1] if said else f"exit status {done.returncode}"


def uuids(gpus: Sequence[str]) -> list[str]:
    """Names of GPUs, as in CUDA_VISIBLE_DEVICES, as UUIDs; a number is the place in nvidia-smi's list.

    Raises:
        InputError: for MIG devices, each of which needs a daemon of its own, and for a GPU that nvidia-smi lacks.
    """
    known: list[str] = re.findall(r"^GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)", nvidia_smi(), re.MULTILINE)
    found = []
    for gpu in gpus:
        if gpu.isdecimal() and int(gpu) < len(known):
            found.append(known[int(gpu)])
        elif gpu.startswith("GPU-"):
            found.append(gpu)
        else:
            raise InputError(f"MPS: GPU {gpu} is none of nvidia-smi's {len(known)} whole GPUs; go without MPS")
    return found


def is_fault(reason: str) -> bool:
    """Whether a run ended because its context on the GPU was lost.

    Under MPS a fault of one process ends the contexts of all that share its GPU, and nobody is told whose it was.
    """
    return FAULT.search(reason) is not None
