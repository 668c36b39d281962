"""Runs on this machine: a plan, a command and slots come in; finished run folders and outcomes go out.

One process for each run; a run starts as soon as its needs are done and a slot is free, the longest chain first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.runs.folder import RunFolder
from launch.executors.base import Outcome
from launch.executors.local.interrupts import Interrupts, counting_interrupts, stop_all
from launch.executors.local.progress_table import Observer
from launch.executors.prepare import prepare_folder, record_failure
from launch.executors.process import RunProcess, explain_exit
from launch.executors.slots import Slot
from launch.grids.grid import GridRun
from launch.plan.decide import Decision, Found
from launch.plan.lock import RunLock
from launch.plan.run_state import DatasetFacts, find_run

POLL_S = 0.1
TICK_S = 1.0
GRACE_S = 10.0
TAIL_LINES = 12

Command = Callable[[GridRun], list[str]]


class LocalExecutor:
    """The ``launch.executors.base.Executor`` of one machine. Two of them on one folder of runs start no run twice."""

    def __init__(
        self,
        *,
        runs_dir: Path,
        command: Command,
        slots: Sequence[Slot],
        observer: Observer,
        facts: Mapping[str, DatasetFacts],
        priority: Mapping[str, float],
        grace_s: float = GRACE_S,
    ) -> None:
        """Take what is needed; nothing is started yet.

        Args:
            runs_dir: folder of run folders.
            command: gives the command line that computes a run.
            slots: places for one run each.
            observer: is told what happens.
            facts: what the betons hold, by dataset.
            priority: by run id; of the runs that could start, the highest starts first.
            grace_s: time that runs get to end after an interrupt.
        """
        self._runs_dir, self._command, self._observer = runs_dir, command, observer
        self._facts, self._priority, self._grace_s = facts, priority, grace_s
        self._free = list(slots)
        self._running: list[RunProcess] = []
        self._pending: list[GridRun] = []
        self._elsewhere: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._next_tick = 0.0

    def submit(self, plan: Sequence[Decision]) -> list[Outcome]:
        """Start what the plan says and wait for it; an outcome for each decision, in their order.

        Raises:
            KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGHUP, once every child process has ended.
        """
        for decision in plan:
            run = decision.run
            if decision.action == "skip":
                self._outcomes[run.run_id] = Outcome(run=run, state="skipped", reason=decision.reason)
            elif decision.action == "blocked":
                self._end(Outcome(run=run, state="blocked", reason=decision.reason))
            else:
                self._pending.append(run)
        self._pending.sort(key=lambda run: -self._priority.get(run.run_id, 0.0))
        with counting_interrupts() as interrupts:
            try:
                self._work(interrupts)
            finally:
                stop_all(self._running, interrupts, grace_s=self._grace_s)
        return [self._outcomes[decision.run.run_id] for decision in plan]

    def _work(self, interrupts: Interrupts) -> None:
        while self._pending or self._running:
            self._collect()
            self._start_ready()
            if time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK_S
                self._observer.tick([(process, self._look(process.run)) for process in self._running])
            if interrupts.wait(POLL_S):
                self._observer.stopping(len(self._running))
                raise KeyboardInterrupt

    def _look(self, run: GridRun) -> Found:
        return find_run(run, self._runs_dir, self._facts, have_lock=True)

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.run.run_id] = outcome
        self._observer.ended(outcome)

    def _collect(self) -> None:
        """Note what became of the processes that have ended."""
        for process in list(self._running):
            status = process.poll()
            if status is not None:
                self._running.remove(process)
                self._free.append(process.slot)
                self._end(self._outcome(process, status))
                process.lock.release()

    def _outcome(self, process: RunProcess, status: int) -> Outcome:
        run, found = process.run, self._look(process.run)
        if found.state == "done":
            return Outcome(run=run, state="done", mean_auroc=found.mean_auroc, seconds=process.seconds)
        tail = tuple(process.log_tail(TAIL_LINES))
        if found.state in ("failed", "stale") and found.error:
            reason = found.error
        else:
            reason = explain_exit(status, tail)
            record_failure(RunFolder(self._runs_dir / run.run_id), reason)
        return Outcome(run=run, state="failed", reason=reason, seconds=process.seconds, log_tail=tail)

    def _start_ready(self) -> None:
        """Start what can start, in the order of priority, and give up what can no longer start."""
        unfinished = {run.run_id for run in self._pending} | {process.run.run_id for process in self._running}
        for run in list(self._pending):
            broken = [need for need in run.needs if self._state(need) in ("failed", "blocked")]
            if broken:
                name = self._outcomes[broken[0]].run.name
                self._pending.remove(run)
                self._end(
                    Outcome(run=run, state="blocked", reason=f"needs {name}, which {_fate(self._state(broken[0]))}")
                )
            elif self._free and unfinished.isdisjoint(run.needs):
                self._try_start(run)

    def _state(self, run_id: str) -> str | None:
        outcome = self._outcomes.get(run_id)
        return None if outcome is None else outcome.state

    def _try_start(self, run: GridRun) -> None:
        """Start the run, unless another process has it or has ended it since the plan was made."""
        lock = RunLock.acquire(self._runs_dir / run.run_id)
        found = Found(state="running") if lock is None else self._look(run)
        failed_elsewhere = found.state == "failed" and run.run_id in self._elsewhere
        if lock is not None and found.state in ("absent", "partial", "failed") and not failed_elsewhere:
            self._pending.remove(run)
            self._start(run, lock)
            return
        if lock is not None:
            lock.release()
        if found.state == "running":
            if run.run_id not in self._elsewhere:
                self._elsewhere.add(run.run_id)
                self._observer.elsewhere(run, found)
            return
        self._pending.remove(run)
        if found.state == "done":
            self._end(Outcome(run=run, state="done", mean_auroc=found.mean_auroc))
        else:
            state: Literal["failed", "blocked"] = "failed" if failed_elsewhere else "blocked"
            self._end(Outcome(run=run, state=state, reason=found.error or ""))

    def _start(self, run: GridRun, lock: RunLock) -> None:
        slot = self._free.pop(0)
        try:
            folder = prepare_folder(run, self._runs_dir)
            process = RunProcess.start(run, self._command(run), folder, slot, lock)
        except OSError as error:
            self._free.append(slot)
            lock.release()
            self._end(Outcome(run=run, state="failed", reason=f"could not be started: {error}"))
            return
        self._running.append(process)
        self._observer.started(process)


def _fate(state: str | None) -> str:
    return "failed" if state == "failed" else "is blocked"
