"""Hand jobs to sbatch through submitit, or render what would be handed over."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from launch.executors.base import QueueError
from launch.executors.commands import ask
from launch.executors.slurm.ending import SETUP_FAILED
from launch.executors.slurm.environment import clean_environment
from launch.executors.slurm.profile import REQUEUE, ClusterConfig
from launch.executors.slurm.start import MAX_NUM_TIMEOUT
from launch.plan.tables import plural

UNREACHABLE = ("Unable to contact", "Connection refused", "timed out", "Zero Bytes were transmitted")
"""What sbatch says when it is not the jobs that are wrong."""


def queue_jobs(
    num_jobs: int, cluster: ClusterConfig, folder: Path, name: str, *, dependency: str | None, nice: int = 0
) -> str:
    """Queue the jobs that lie in ``folder`` as one array, or a lone one as it is; return the number that SLURM gave.

    Raises:
        InputError: with sbatch's words when it refuses; a ``QueueError`` when the controller does not answer.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor, command = _executor(num_jobs, cluster, folder, sbatch_parameters(cluster, name, dependency, nice))
    try:
        # submitit also prints what sbatch said
        with clean_environment(), contextlib.redirect_stderr(io.StringIO()):
            return str(executor._submit_command(command).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        words = _in_one_line(str(error))
        kind = QueueError if any(sign in words for sign in UNREACHABLE) else InputError
        raise kind(f"sbatch refused the jobs: {words}") from None


def refuse_what_no_node_has(cluster: ClusterConfig, asker: str = "the profile") -> None:
    """Compare what a run asks for with the partition's nodes, up or down: sbatch queues it also when none fits.

    Raises:
        InputError: when too few nodes have as many cores, as much memory and as many GPUs.
    """
    partition = [f"--partition={cluster.partition}"] if cluster.partition else []
    cores, gpus = cluster.tasks_per_node * cluster.cpus_of_task, cluster.gpus_of_job // cluster.nodes
    wanted = (1 if cluster.sbatch.get("overcommit") else cores, 1024 * (cluster.mem_gb or 0), gpus)
    nodes = {}
    for line in ask("sinfo", "--noheader", "--Node", "--format=%N|%c|%m|%G", *partition).splitlines():
        name, has_cores, memory_mb, gres = line.split("|")
        nodes[name.strip()] = (int(has_cores), int(memory_mb), gpus_of(gres))
    fitting = [name for name, has in nodes.items() if all(a >= b for a, b in zip(has, wanted, strict=True))]
    if nodes and len(fitting) < cluster.nodes:
        memory = f"{cluster.mem_gb:g} GB, " if cluster.mem_gb else ""
        asked = f"{plural(cluster.nodes, 'node')} with {memory}{plural(cores, 'core')} and {plural(gpus, 'GPU')}"
        raise InputError(
            f"{asker} asks for {asked}; of the partition's {plural(len(nodes), 'node')} {len(fitting)} are so "
            "large: the jobs would wait for ever"
        )


def gpus_of(gres: str) -> int:
    """Return the GPUs in a node's generic resources: 6 of ``gpu:a100:4(S:0-1),gpu:2``."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]*[^\d:,(][^:,(]*)?(?::(\d+))?(?![\w:])", gres.strip())
    return sum(int(count or 1) for count in counts)


def render(num_jobs: int, cluster: ClusterConfig, folder: Path, name: str) -> str:
    """Return the file that sbatch would be given for so many jobs; SLURM need not be installed."""
    executor, command = _executor(num_jobs, cluster, folder, sbatch_parameters(cluster, name, None))
    text: str = executor._make_submission_file_text(command, name)
    return text


def _executor(num_jobs: int, cluster: ClusterConfig, folder: Path, parameters: Mapping[str, Any]) -> tuple[Any, str]:
    """Return submitit's executor for one array, and what each of its tasks starts.

    Its public ``submit`` writes a file for each job, which takes most of the time of queuing thousands; so its
    methods that write and submit the batch file are called by themselves.
    """
    import submitit

    class ArrayExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = ArrayExecutor(folder, max_num_timeout=MAX_NUM_TIMEOUT, python=cluster.python)
    executor.update_parameters(**parameters)
    if num_jobs > 1:
        executor.parameters["map_count"] = num_jobs
    return executor, f"{executor.python} -u -m launch.executors.slurm.start {shlex.quote(str(executor.folder))}"


def sbatch_parameters(cluster: ClusterConfig, name: str, dependency: str | None, nice: int = 0) -> dict[str, Any]:
    """Return the parameters of submitit's SLURM executor for one submission."""
    requeue = "requeue" if cluster.requeues else "no-requeue"
    options: dict[str, Any] = {requeue: True, "kill-on-invalid-dep": "yes", **({"nice": nice} if nice else {})}
    if cluster.mem_gb is not None:  # not as submitit's ``mem``, whose form differs between its versions
        options["mem"] = f"{round(1024 * cluster.mem_gb)}M"
    options |= {key: value for key, value in cluster.sbatch.items() if value is not False and key not in REQUEUE}
    return {
        "job_name": name,
        "time": cluster.time_min,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.tasks_per_node,
        "cpus_per_task": cluster.cpus_of_task,
        "gpus_per_node": cluster.gpus_of_job // cluster.nodes or None,
        "array_parallelism": min(cluster.array_parallelism, cluster.max_running or cluster.array_parallelism),
        "signal_delay_s": cluster.signal_delay_s,
        "setup": [part for line in cluster.setup for part in (line, stop_after(line))],
        "stderr_to_stdout": True,
        # srun inherits no --cpus-per-task since SLURM 22.05, and lets a run's other processes wait for a dead one.
        "srun_args": [f"--cpus-per-task={cluster.cpus_of_task}", "--kill-on-bad-exit=1"],
        "additional_parameters": options,
        "dependency": dependency,
        **{key: getattr(cluster, key) for key in ("partition", "account", "qos", "constraint", "wckey", "exclude")},
    }


def stop_after(line: str) -> str:
    """Return the shell line that ends the job when the one before it failed."""
    return f"test $? = 0 || {{ echo {shlex.quote(f'{SETUP_FAILED}: {line}')} >&2; exit 1; }}"


def _in_one_line(words: str) -> str:
    lines = [line.strip().removeprefix("sbatch: error: ") for line in words.splitlines() if line.strip()]
    return "; ".join(lines) or "no reason given"
