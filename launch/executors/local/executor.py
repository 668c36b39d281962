"""Run a plan on this machine, one process for each run.

A run starts as soon as its needs are done and a slot is free, the longest chain first.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from datasets.errors import InputError
from datasets.loading.threads import usable_cores
from harness.runs.folder import RunFolder
from harness.runs.lock import RunLock
from launch.executors.base import Executor, Outcome, SubmitRequest
from launch.executors.hook import Hooks
from launch.executors.local.gpu_room import GpuRoom
from launch.executors.local.profile import with_profile
from launch.executors.local.progress import Progress, showing_progress
from launch.executors.mps import is_fault, mps_daemon, uuids
from launch.executors.placement import Slot, make_slots
from launch.executors.prepare import prepare_folder, record_failure
from launch.executors.process import RunProcess, explain_exit, log_tail
from launch.executors.signals import StopSignals, caught_signals
from launch.grids.grid import GridRun
from launch.plan.decide import Decision, where_it_runs
from launch.plan.run_state import DatasetFacts, RunState, read_state
from launch.plan.tables import plural

POLL_S = 0.1
TICK_S = 1.0
GRACE_S = 10.0
TAIL_LINES = 12

Command = Callable[[GridRun], list[str]]


class LocalExecutor(Executor):
    """Run what a plan says here and wait for it; two of them on one folder of runs start no run twice."""

    keeps_queue = False

    def submit(self, request: SubmitRequest) -> list[Outcome]:
        """Start the plan's runs and return when all have ended.

        Raises:
            InputError: for a profile that cannot be read, or GPUs that are not there.
            KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGHUP, once every child process has ended.
        """
        request = with_profile(request)
        slots = make_slots(request.command.device, request.slots, request.runs_per_gpu)
        threads = request.command.num_threads or max(1, usable_cores() // len(slots))
        todo = sum(decision.action != "skip" for decision in request.plan)
        with slots_by_mps(slots) if request.mps else nullcontext(slots) as slots, showing_progress(todo) as progress:
            scheduler = Scheduler(
                runs_dir=self.runs_dir,
                command=replace(request.command, num_threads=threads),
                slots=slots,
                progress=progress,
                facts=request.facts,
                priority=request.priority,
                mps=request.mps,
                hooks=Hooks(line=request.on_end, grid=request.grid),
            )
            return scheduler.run(request.plan)

    def preview(self, request: SubmitRequest) -> str:
        """Say nothing more than the plan does; a profile is read all the same."""
        with_profile(request)
        return ""

    def states(
        self, runs: Sequence[GridRun], read_folders: Callable[[], Mapping[str, RunState]]
    ) -> Mapping[str, RunState]:
        """Return what the run folders say; there is no queue."""
        return read_folders()

    def cancel(self, runs: Sequence[GridRun]) -> int:
        """Cancel nothing: runs end with the command that started them."""
        return 0


@contextmanager
def slots_by_mps(slots: Sequence[Slot]) -> Iterator[tuple[Slot, ...]]:
    """The slots, whose GPUs a daemon of the Multi-Process Service serves meanwhile.

    Raises:
        InputError: without a GPU that runs share, or without the service.
    """
    names = [slot.get("CUDA_VISIBLE_DEVICES", "") for slot in slots]
    gpus = list(dict.fromkeys(names))
    if len(gpus) == len(names) or "" in gpus:
        raise InputError("--mps: no runs share a GPU here; give --runs-per-gpu, or --slots above the number of GPUs")
    by_name = dict(zip(gpus, uuids(gpus), strict=True))
    with mps_daemon(list(by_name.values())) as found:
        yield tuple({**found, "CUDA_VISIBLE_DEVICES": by_name[name]} for name in names)


@dataclass(kw_only=True)
class Scheduler:
    """The runs of one submission: which wait, which run, and what became of the rest."""

    runs_dir: Path
    command: Command
    """Gives the command line that computes a run."""
    slots: Sequence[Slot]
    """Places for one run each."""
    progress: Progress
    facts: Mapping[str, DatasetFacts]
    """Contents of the betons, by dataset."""
    priority: Mapping[str, float]
    """By run id; of the runs that could start, the highest starts first."""
    mps: bool = False
    """Whether runs on one GPU share its contexts, so that a fault of one of them ends them all."""
    hooks: Hooks = field(default_factory=lambda: Hooks(line=None, grid=""))
    """What is started at the end of each run."""
    grace_s: float = GRACE_S
    """Time that runs get to end after an interrupt."""

    def __post_init__(self) -> None:
        """Nothing is started yet."""
        self._free = list(self.slots)
        self._running: list[tuple[GridRun, RunProcess, Slot]] = []
        self._pending: list[GridRun] = []
        self._elsewhere: set[str] = set()
        self._had_neighbours: set[str] = set()
        self._alone: set[str] = set()
        """Runs that met a fault beside others, and go on without any."""
        self._outcomes: dict[str, Outcome] = {}
        self._next_tick = 0.0
        self.room = GpuRoom(runs_dir=self.runs_dir, note=self.progress.note)

    def run(self, plan: Sequence[Decision]) -> list[Outcome]:
        """Carry the plan out; return an outcome for each decision, in their order."""
        for decision in plan:
            run = decision.run
            if decision.action == "skip":
                self._outcomes[run.run_id] = Outcome(run=run, state="skipped", reason=decision.reason)
            elif decision.action == "blocked":
                self._end(Outcome(run=run, state="blocked", reason=decision.reason))
            else:
                self._pending.append(run)
        self._pending.sort(key=lambda run: -self.priority.get(run.run_id, 0.0))
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        with caught_signals(numbers) as signals:
            try:
                self._loop(signals)
            finally:
                stop_all([process for _, process, _ in self._running], signals, grace_s=self.grace_s)
                for _, process, _ in self._running:
                    process.lock.release()
                self.hooks.close()
        return [self._outcomes[decision.run.run_id] for decision in plan]

    def _loop(self, signals: StopSignals) -> None:
        while self._pending or self._running:
            self._collect()
            self._start_ready()
            if time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK_S
                self.progress.tick([(run, process, self._state_of(run)) for run, process, _ in self._running])
            if signals.wait(POLL_S):
                self.progress.note(f"stopping {plural(len(self._running), 'run')}; once more to stop at once")
                raise KeyboardInterrupt

    def _state_of(self, run: GridRun) -> RunState:
        return read_state(run, self.runs_dir, self.facts, have_lock=True)

    def _end(self, outcome: Outcome) -> None:
        run, state = outcome.run, outcome.state
        self._outcomes[run.run_id] = outcome
        self.progress.ended(outcome)
        if state in ("done", "failed") and outcome.seconds is not None:  # by a process of ours
            self.hooks.tell(self.runs_dir / run.run_id, name=run.name, state=state, error=outcome.reason)

    def _collect(self) -> None:
        """Note what became of the processes that have ended."""
        for run, process, slot in list(self._running):
            status = process.poll()
            if status is not None:
                self._running.remove((run, process, slot))
                self._free.append(slot)
                outcome = self._outcome(run, process, status)
                if self._shared_a_fault(outcome):
                    self._go_on_alone(run)
                else:
                    self._end(outcome)
                process.lock.release()

    def _shared_a_fault(self, outcome: Outcome) -> bool:
        """Whether a run failed by a fault that may be a neighbour's."""
        run_id = outcome.run.run_id
        may_be = self.mps and run_id in self._had_neighbours and run_id not in self._alone
        return may_be and outcome.state == "failed" and is_fault(outcome.reason)

    def _go_on_alone(self, run: GridRun) -> None:
        self._alone.add(run.run_id)
        self._pending.insert(0, run)
        self.progress.note(
            f"{run.name} met a CUDA error on a GPU that it shares by MPS, through its own fault or a neighbour's; it "
            "goes on from its checkpoint, alone on a GPU"
        )

    def _outcome(self, run: GridRun, process: RunProcess, status: int) -> Outcome:
        state = self._state_of(run)
        if state.state == "done":
            return Outcome(run=run, state="done", mean_auroc=state.mean_auroc, seconds=process.seconds)
        tail = tuple(log_tail(process.log, TAIL_LINES, process.log_start))
        if state.state in ("failed", "stale") and state.error:
            reason = state.error
        else:
            reason = explain_exit(status, tail)
            record_failure(RunFolder(self.runs_dir / run.run_id), reason)
        return Outcome(run=run, state="failed", reason=reason, seconds=process.seconds, log_tail=tail)

    def _start_ready(self) -> None:
        """Start what can start, in the order of priority, and give up what can no longer start."""
        unfinished = {run.run_id for run in self._pending} | {run.run_id for run, _, _ in self._running}
        for run in list(self._pending):
            ended = [self._outcomes[need] for need in run.needs if need in self._outcomes]
            broken = [outcome for outcome in ended if outcome.state in ("failed", "blocked")]
            if broken:
                fate = "failed" if broken[0].state == "failed" else "is blocked"
                self._pending.remove(run)
                self._end(Outcome(run=run, state="blocked", reason=f"needs {broken[0].run.name}, which {fate}"))
            elif unfinished.isdisjoint(run.needs) and (slot := self._slot_for(run)) is not None:
                self._try_start(run, slot)

    def _slot_for(self, run: GridRun) -> Slot | None:
        """A free slot on a GPU with room for the run, that with the fewest runs; None when there is none."""
        for slot in sorted(self._free, key=lambda slot: len(self._beside(slot))):
            neighbours = self._beside(slot)
            if neighbours and not self._alone.isdisjoint([run.run_id, *(other.run_id for other, _ in neighbours)]):
                continue
            if self.room.admits(run, slot.get("CUDA_VISIBLE_DEVICES"), neighbours):
                return slot
        return None

    def _beside(self, slot: Slot) -> list[tuple[GridRun, RunProcess]]:
        """What runs on the slot's GPU."""
        return [(run, process) for run, process, its in self._running if its == slot]

    def _try_start(self, run: GridRun, slot: Slot) -> None:
        """Start the run, unless another process has it or has ended it since the plan was made."""
        lock = RunLock.acquire(self.runs_dir / run.run_id)
        state = RunState(state="running") if lock is None else self._state_of(run)
        failed_elsewhere = state.state == "failed" and run.run_id in self._elsewhere
        if lock is not None and state.state in ("absent", "partial", "failed") and not failed_elsewhere:
            self._pending.remove(run)
            self._start(run, lock, slot)
            return
        if lock is not None:
            lock.release()
        if state.state == "running":
            if run.run_id not in self._elsewhere:
                self._elsewhere.add(run.run_id)
                self.progress.note(f"waiting for {run.name}: {where_it_runs(state)}")
            return
        self._pending.remove(run)
        if state.state == "done":
            self._end(Outcome(run=run, state="done", mean_auroc=state.mean_auroc))
        else:
            fate: Literal["failed", "blocked"] = "failed" if failed_elsewhere else "blocked"
            self._end(Outcome(run=run, state=fate, reason=state.error or ""))

    def _start(self, run: GridRun, lock: RunLock, slot: Slot) -> None:
        self._free = [free for free in self._free if free is not slot]
        try:
            folder = prepare_folder(run, self.runs_dir)
            process = RunProcess.start(self.command(run), folder, lock, slot)
        except OSError as error:
            self._free.append(slot)
            lock.release()
            self._end(Outcome(run=run, state="failed", reason=f"could not be started: {error}"))
            return
        neighbours = [other.run_id for other, _ in self._beside(slot)]
        self._had_neighbours.update([*neighbours, run.run_id] if neighbours else ())
        self._running.append((run, process, slot))
        self.progress.note(f"started {run.name} (log: {process.log})")


def stop_all(processes: Sequence[RunProcess], signals: StopSignals, *, grace_s: float) -> None:
    """End the processes: SIGINT, after half of ``grace_s`` SIGTERM, after all of it SIGKILL; return when all ended.

    Another signal to this process meanwhile cuts the waiting short.
    """
    asked, start = signals.count, time.monotonic()
    living = [process for process in processes if process.poll() is None]
    for delay_s, number in ((0.0, signal.SIGINT), (grace_s / 2, signal.SIGTERM), (grace_s, signal.SIGKILL)):
        while living and time.monotonic() - start < delay_s and signals.count == asked:
            time.sleep(POLL_S / 2)
            living = [process for process in living if process.poll() is None]
        for process in living:
            process.signal(number)
    for process in living:
        process.process.wait()
