"""The processes of one run on this machine: a command and a count come in; the worst exit status goes out.

Under torchrun, ``accelerate launch`` or srun the processes are there already, and what they were given is used.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from launch.executors import tether

POLL_S = 0.05
GRACE_S = 20.0
"""Time that the other processes have to end once one is dead; after it they are killed."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def take_over_srun(environment: MutableMapping[str, str]) -> None:
    """Give the tasks of one srun step the variables that torch reads; elsewhere nothing is changed."""
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if "WORLD_SIZE" in environment or tasks == 1:
        return
    step_nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "localhost"))
    job = int(environment.get("SLURM_JOB_ID", "0"))
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))
    environment.update(
        RANK=environment["SLURM_PROCID"],
        LOCAL_RANK=environment["SLURM_LOCALID"],
        WORLD_SIZE=str(tasks),
        LOCAL_WORLD_SIZE=str(tasks_here(per_node, int(environment.get("SLURM_NODEID", "0")))),
    )
    environment.setdefault("MASTER_ADDR", first_host(step_nodes))
    environment.setdefault("MASTER_PORT", str(20000 + (job * 7 + int(environment.get("SLURM_STEP_ID", "0"))) % 20000))


def first_host(nodes: str) -> str:
    """First host of SLURM's short form: ``gpu[003-007,9],x`` is gpu003."""
    head = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?", nodes)
    return nodes if head is None else head[1] + (head[2] or "")


def tasks_here(per_node: str, node: int) -> int:
    """Tasks on one node by SLURM's short form: of ``4(x2),3`` nodes 0 and 1 have 4, node 2 has 3."""
    counts: list[int] = []
    for part in per_node.split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[min(node, len(counts) - 1)]


def started_by_launcher(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several that some launcher started."""
    return "WORLD_SIZE" in environment


def run_ranks(command: Sequence[str], num_processes: int) -> int:
    """Start the command as many times, wait for all, end all when one dies; the worst status of those that died.

    What the first one prints is seen; of the others the last lines, should the run fail. SIGINT, SIGTERM and SIGUSR2
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
    # A session of its own: the terminal's Ctrl-C comes through us alone, once. The tether ends it if we are killed.
    tied = [sys.executable, "-I", str(Path(tether.__file__).resolve()), str(os.getpid()), *command]
    return subprocess.Popen(
        tied, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Exit statuses by rank of those that ended by themselves; those that we had to end are left out."""
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
    """A list of processes to which this one's signals go, and which are gone at the end."""
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
