"""The interface by which ``cxr grid`` submits, follows and cancels runs, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from datasets.errors import InputError
from launch.executors.prepare import TrainCommand
from launch.grids.grid import GridRun
from launch.plan.cost import chains, critical_paths
from launch.plan.decide import Decision
from launch.plan.run_state import DatasetFacts, RunState


class UnreachableError(InputError):
    """The queue cannot be asked from this host."""


class QueueError(UnreachableError):
    """The queue did not answer, or refused; a later attempt may succeed."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a submission did with one run of its plan."""

    run: GridRun
    state: Literal["skipped", "done", "queued", "waiting", "postponed", "failed", "blocked"]
    """``skipped`` was done before or is cancelled, ``queued`` was handed to a queue that outlives the command,
    ``waiting`` was in the queue already, or runs, ``postponed`` is for a later submission, its needs being done."""
    reason: str = ""
    mean_auroc: float | None = None
    """Test AUROC of a done run, 0..1."""
    seconds: float | None = None
    """Duration of the run's process."""
    log_tail: tuple[str, ...] = ()
    """Last lines of a failed run's log."""


@dataclass(frozen=True, kw_only=True)
class SubmitRequest:
    """A plan to carry out, and what its runs share."""

    grid: str
    """Name or file of the grid, as it was typed."""
    plan: Sequence[Decision]
    command: TrainCommand
    """Gives the command line of each run; its folders are absolute."""
    facts: Mapping[str, DatasetFacts] = field(default_factory=dict)
    """Sizes and content hashes of the betons, by dataset."""
    hours: Mapping[str, float] = field(default_factory=dict)
    """GPU-hours that each run still takes by the planner's estimate, by run id."""
    profile: Path | None = None
    """TOML file with the executor's own options (``--cluster``)."""
    slots: int | None = None
    """Runs at once on this machine (``--slots``)."""
    runs_per_gpu: int | None = None
    """Runs at once on each of its GPUs (``--runs-per-gpu``)."""
    mps: bool = False
    """Whether runs that share a GPU of this machine do so by NVIDIA's Multi-Process Service (``--mps``)."""
    on_end: str | None = None
    """Shell line for the end of each run of this machine (``--on-end``)."""
    leave_lost: bool = False
    """Whether runs that failed or were cancelled stay so, rather than being queued again."""
    allow_dirty: bool = False
    """Whether queued runs may read a checkout with uncommitted changes."""

    @property
    def priority(self) -> dict[str, float]:
        """Cost of the costliest chain that starts with each run, by run id; the highest starts first."""
        runs = [decision.run for decision in self.plan]
        if all(run.run_id in self.hours for run in runs):
            return chains(runs, self.hours)
        return critical_paths(runs, {dataset: facts.splits for dataset, facts in self.facts.items()})

    def refuse_machine_options(self) -> None:
        """Refuse options of this machine, for an executor whose runs start elsewhere.

        Raises:
            InputError: naming them.
        """
        given = (self.slots, self.runs_per_gpu, self.command.num_threads, self.on_end)
        if any(value is not None for value in given) or self.mps or self.command.device != "auto":
            raise InputError(
                "--slots, --runs-per-gpu, --mps, --threads-per-run, --on-end and --device are for this machine; the "
                "cluster profile has them"
            )


class Executor(ABC):
    """Runs of a grid in one place: this machine or a queue. Made anew for each command.

    What must outlive the command is kept in ``folder``; that folder's existence tells later commands that the
    executor has been used for these runs and is to be asked for their states.
    """

    keeps_queue: ClassVar[bool] = True
    """Whether ``submit`` returns once its runs are queued rather than ended."""
    orders_jobs: ClassVar[bool] = True
    """Whether a run can wait in the queue for those that it needs; else it is ``postponed`` until they are done."""

    def __init__(self, name: str, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.folder = runs_dir / name

    @abstractmethod
    def submit(self, request: SubmitRequest) -> list[Outcome]:
        """Start or queue what the plan's runs lack; return an outcome for each decision, in their order.

        Two submissions at once must start no run twice.

        Raises:
            InputError: when the request is refused as a whole; nothing is then left behind.
            KeyboardInterrupt: when asked to stop; an executor without a queue has then ended its runs.
        """

    def retry(self, request: SubmitRequest) -> list[Outcome]:
        """Submit runs that have failed, and what they need; as ``submit`` unless failures must be cleared first."""
        return self.submit(request)

    def preview(self, request: SubmitRequest) -> str:
        """Describe what ``submit`` would send; nothing is started or written."""
        return ""

    @abstractmethod
    def states(
        self, runs: Sequence[GridRun], read_folders: Callable[[], Mapping[str, RunState]]
    ) -> Mapping[str, RunState]:
        """Return the state of each run, by run id: what its folder says, corrected by the queue.

        Other runs that the queue holds below the folder of runs, as of an earlier version of the grid, are in it too.

        Args:
            runs: runs to look at, needs first.
            read_folders: reads the run folders; call it after the queue was asked, since a run may end in between.

        Raises:
            UnreachableError: when the queue cannot be asked.
        """

    @abstractmethod
    def cancel(self, runs: Sequence[GridRun]) -> int:
        """Take runs out of the queue, running ones after they saved; return the number of jobs cancelled.

        They stay ``cancelled`` until a submission without ``leave_lost``.
        """

    def cancel_all(self) -> int:
        """Take all out of the queue that it holds below the folder of runs, other grids' runs too."""
        return 0

    def logs(self, run: GridRun) -> Path | None:
        """Return the file that holds what a job printed besides the run's own log, if there is one."""
        return None
