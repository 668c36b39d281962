"""Registry of executors, those of other installed packages included."""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets.errors import InputError
from datasets.registry import Registry
from launch.executors.base import Executor, UnreachableError
from launch.grids.grid import GridRun
from launch.plan.run_state import DatasetFacts, RunState, read_states

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExecutorEntry:
    """One executor."""

    constructor: str
    """``module:Class`` of a ``launch.executors.base.Executor``."""
    title: str


EXECUTORS = Registry[ExecutorEntry]("executor", "cxr_harness.executors")
for _name, _class, _title in (
    ("local", "local.executor:LocalExecutor", "this machine"),
    ("slurm", "slurm.executor:SlurmExecutor", "a SLURM cluster"),
    ("pbs", "clusters.pbs:PbsExecutor", "PBS Pro, OpenPBS or Torque"),
    ("lsf", "clusters.lsf:LsfExecutor", "IBM Spectrum LSF"),
    ("htcondor", "clusters.htcondor:CondorExecutor", "HTCondor"),
    ("kubernetes", "clusters.kubernetes:KubernetesExecutor", "Kubernetes Jobs"),
):
    EXECUTORS.add(_name, ExecutorEntry(constructor=f"launch.executors.{_class}", title=_title))


def make_executor(name: str, runs_dir: Path) -> Executor:
    """Return the executor of this name for a folder of runs.

    Raises:
        InputError: for an unknown name, with the known ones.
    """
    if name not in EXECUTORS:
        raise InputError(f"--executor {name}: unknown; known: {', '.join(EXECUTORS)}")
    executor: Executor = pkgutil.resolve_name(EXECUTORS[name].constructor)(name, runs_dir)
    return executor


def executors_used(runs_dir: Path) -> list[Executor]:
    """Return the executors that keep a folder below the runs: those that may hold runs in a queue."""
    return [make_executor(name, runs_dir) for name in EXECUTORS if (runs_dir / name).is_dir()]


def current_states(
    runs: Sequence[GridRun], runs_dir: Path, facts: Mapping[str, DatasetFacts]
) -> Mapping[str, RunState]:
    """Return the state of each run from the run folders and the queues in use.

    A queue that cannot be asked is left out with a warning.
    """
    read: Callable[[], Mapping[str, RunState]] = partial(read_states, runs, runs_dir, facts)
    for executor in executors_used(runs_dir):
        read = partial(_corrected, executor, runs, read)
    return read()


def _corrected(
    executor: Executor, runs: Sequence[GridRun], read: Callable[[], Mapping[str, RunState]]
) -> Mapping[str, RunState]:
    try:
        return executor.states(runs, read)
    except UnreachableError as error:
        logger.warning("%s; states come from the run folders alone", error)
        return read()
