"""One sbatch call through submitit: jobs and a cluster profile come in; the number of their array goes out."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from launch.executors.slurm.job import Job
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import QueueError

MAX_NUM_TIMEOUT = 1_000_000
"""submitit guesses time-outs from the elapsed time; restarts are counted by the job itself."""
UNREACHABLE = ("Unable to contact", "Connection refused", "timed out", "Zero Bytes were transmitted")
"""What sbatch says when it is not the jobs that are wrong."""
JOB_VARIABLES = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
KEPT_VARIABLES = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
"""They say which cluster this is, not which job."""


def queue_jobs(jobs: Sequence[Job], cluster: ClusterConfig, folder: Path, name: str, dependency: str | None) -> str:
    """Queue the jobs as one array, or a lone one as it is; the number that SLURM gave.

    Raises:
        InputError: with sbatch's words when it refuses; a ``QueueError`` when the controller does not answer.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_NUM_TIMEOUT, python=cluster.python)
    executor.update_parameters(**sbatch_parameters(cluster, name, dependency))
    try:
        # submitit also prints what sbatch said
        with outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()), executor.batch():
            handles = [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        words = _in_one_line(str(error))
        kind = QueueError if any(sign in words for sign in UNREACHABLE) else InputError
        raise kind(f"sbatch refused the jobs: {words}") from None
    return str(handles[0].job_id).partition("_")[0]


def sbatch_parameters(cluster: ClusterConfig, name: str, dependency: str | None) -> dict[str, Any]:
    """Parameters of submitit's SLURM executor for one submission."""
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": cluster.time_min,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.tasks_per_node,
        "cpus_per_task": cluster.cpus_per_task,
        "gpus_per_node": cluster.gpus_per_run // cluster.nodes or None,
        "array_parallelism": cluster.array_parallelism,
        "signal_delay_s": cluster.signal_delay_s,
        "setup": list(cluster.setup),
        "wckey": cluster.wckey,
        "stderr_to_stdout": True,
        # srun inherits no --cpus-per-task since SLURM 22.05, and lets a run's other processes wait for a dead one.
        "srun_args": [f"--cpus-per-task={cluster.cpus_per_task}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **cluster.sbatch},
        "dependency": dependency,
    }
    for key in ("partition", "account", "qos", "constraint", "exclude"):
        parameters[key] = getattr(cluster, key)
    if cluster.mem_gb is not None:
        parameters["mem_gb"] = cluster.mem_gb
    return parameters


@contextlib.contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Hide what an enclosing job or launcher left in the environment: sbatch would hand it on to the new jobs."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name not in KEPT_VARIABLES and (name.startswith(JOB_VARIABLES) or name in RANK_VARIABLES)
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _in_one_line(words: str) -> str:
    lines = [line.strip().removeprefix("sbatch: error: ") for line in words.splitlines() if line.strip()]
    return "; ".join(lines) or "no reason given"
