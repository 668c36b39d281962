"""Start the processes of one run on this machine, end them together, and return the worst exit status."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from harness.runs.lock import inherited_descriptors
from launch.executors.signals import dying_with_parent, handled_signals

POLL_S = 0.05
GRACE_S = 20.0
"""Time that the other processes have to end once one is dead; after it they are killed."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

logger = logging.getLogger(__name__)


def started_by_launcher(environment: Mapping[str, str]) -> bool:
    """Return whether this process is one of several that torchrun, accelerate or srun started."""
    return "WORLD_SIZE" in environment


def started_alone(environment: Mapping[str, str]) -> bool:
    """Return whether ``accelerate launch``, asked for several processes, started one alone, as with ``--cpu``."""
    mpi = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # with a file of hosts it starts them by mpirun
    asked = "ACCELERATE_USE_CPU" in environment and "MASTER_ADDR" in environment
    return asked and not started_by_launcher(environment) and not any(name in environment for name in mpi)


def run_ranks(command: Sequence[str], num_processes: int) -> int:
    """Start the command ``num_processes`` times, wait for all, end all when one dies; return the worst status.

    The first process prints; of the others the last lines are shown when the run fails. SIGINT, SIGTERM and SIGUSR2
    go on to all of them, but those that this process ignores. A status is 128 + N for a process that signal N killed.
    """
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    numbers = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    with handled_signals(numbers, forward), tempfile.TemporaryDirectory(prefix="cxr-ranks-") as logs:
        shared = {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        try:
            for rank in range(num_processes):
                environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                with Path(logs, str(rank)).open("wb") as log:
                    output = None if rank == 0 else log
                    process = subprocess.Popen(
                        dying_with_parent(command),
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,  # the terminal's Ctrl-C comes through this process alone, once
                        pass_fds=inherited_descriptors(),
                    )
                processes.append(process)
            statuses = _wait(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        worst = max(map(_shell_status, statuses.values()), default=0)
        for rank, status in statuses.items():
            if status != 0 and rank != 0 and _shell_status(status) == worst != _shell_status(statuses.get(0, 0)):
                words = Path(logs, str(rank)).read_text(errors="replace")[-4000:].rstrip()
                logger.error("process %d of %d:\n%s", rank, num_processes, words)
            if status < 0:
                logger.error("process %d was killed by signal %d (%s)", rank, -status, signal.strsignal(-status))
        return worst


def _shell_status(status: int) -> int:
    return status if status >= 0 else 128 - status


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Return the exit statuses by rank of those that ended by themselves; what outlives another's death is killed."""
    deadline = math.inf
    while None in [process.poll() for process in processes]:
        if deadline == math.inf and any(process.returncode for process in processes):
            deadline = time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return {rank: process.returncode for rank, process in enumerate(processes) if process.returncode is not None}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
