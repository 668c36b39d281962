"""Start the processes of one run on this machine, end them together, and return the worst exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from launch.executors.die_with_parent import dying_with_parent

POLL_S = 0.05
GRACE_S = 20.0
"""Time that the other processes have to end once one is dead; after it they are killed."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def started_by_launcher(environment: Mapping[str, str]) -> bool:
    """Return whether this process is one of several that torchrun, accelerate or srun started."""
    return "WORLD_SIZE" in environment


def run_ranks(command: Sequence[str], num_processes: int) -> int:
    """Start the command ``num_processes`` times, wait for all, end all when one dies; return the worst status.

    The first process prints; of the others the last lines are shown when the run fails. SIGINT, SIGTERM and SIGUSR2
    go on to all of them. A status is 128 + N for a process that signal N killed.
    """
    with _forwarding() as processes, tempfile.TemporaryDirectory(prefix="cxr-ranks-") as logs:
        shared = {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        for rank in range(num_processes):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with (Path(logs) / str(rank)).open("wb") as log:
                processes.append(_start(command, environment, None if rank == 0 else log))
        statuses = _wait(processes)
        worst = max(statuses.values(), default=0)
        for rank, status in statuses.items():
            if status != 0 and rank != 0 and status == worst and statuses.get(0) != worst:
                print(f"process {rank} of {num_processes}:", file=sys.stderr)
                print((Path(logs) / str(rank)).read_text(errors="replace")[-4000:], file=sys.stderr, end="")
        return worst


def _start(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    # A session of its own: the terminal's Ctrl-C comes through this process alone, once.
    return subprocess.Popen(
        dying_with_parent([*command]),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Return the exit statuses by rank of those that ended by themselves, without those that had to be killed."""
    statuses: dict[int, int] = {}
    ended_at: float | None = None
    while len(statuses) < len(processes):
        for rank, process in enumerate(processes):
            status = process.poll()
            if status is not None and rank not in statuses:
                statuses[rank] = status if status >= 0 else 128 - status
        if ended_at is None and any(statuses.values()):
            ended_at = time.monotonic()
        if ended_at is not None and time.monotonic() - ended_at > GRACE_S:
            _kill(processes)
            return statuses
        time.sleep(POLL_S)
    return statuses


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def _forwarding() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list of processes that get this one's signals, and that are gone at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield processes
    finally:
        _kill(processes)
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
