"""What submissions to every queue share: one at a time, of committed code, nothing settled or cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import InputError
from datasets.files import read_json, write_json
from harness.runs.lock import RunLock
from harness.runs.provenance import ROOT, git_state
from launch.executors.base import Outcome, UnreachableError
from launch.plan.decide import Decision
from launch.plan.run_state import ABSENT, RunState

CANCELLED_NAME = "cancelled.json"
LOCK_WAIT_S = 300.0
LOCK_POLL_S = 0.1
HELD = ("queued", "running")
"""States of runs that a queue or another process holds."""


def refuse_changed_code(allow_dirty: bool) -> None:
    """Refuse to queue uncommitted code, which runs would read whenever they start."""
    state = git_state(ROOT)
    if state is not None and state["dirty"] and not allow_dirty:
        raise InputError(
            f"{ROOT}: the checkout has uncommitted changes, and queued runs read the code when they start; "
            "commit, or give --allow-dirty"
        )


@contextmanager
def submit_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's queue alone, so that two submissions see each other's jobs.

    Raises:
        InputError: when another submission holds it for minutes.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while (lock := RunLock.acquire(folder)) is None:
        if time.monotonic() > deadline:
            raise InputError(f"{folder}: another cxr grid submit has held it for {LOCK_WAIT_S:.0f} s")
        time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        lock.release()


def read_cancelled(folder: Path) -> set[str]:
    """Return the ids of the runs that a person cancelled and nobody has submitted since."""
    path = folder / CANCELLED_NAME
    try:
        return set(read_json(path)) if path.exists() else set()
    except (InputError, TypeError):
        raise UnreachableError(
            f"{path}: not a list of runs; remove it, and cancel again what shall stay out"
        ) from None


def write_cancelled(folder: Path, run_ids: Set[str]) -> None:
    """Replace them, if they have changed."""
    if run_ids != read_cancelled(folder):
        write_json(folder / CANCELLED_NAME, sorted(run_ids))


def settled(
    decisions: Sequence[Decision], found: Mapping[str, RunState], *, leave_lost: bool
) -> Iterator[tuple[str, Outcome]]:
    """Yield outcomes, by run id, of the runs that are not to be queued now."""
    outside: dict[str, str] = {}
    lost: set[str] = set()
    for decision in decisions:
        run, state = decision.run, found.get(decision.run.run_id, ABSENT)
        beyond = [outside[need] for need in run.needs if need in outside]
        if leave_lost and (state.state in ("cancelled", "failed") or not lost.isdisjoint(run.needs)):
            lost.add(run.run_id)
            yield run.run_id, Outcome(run=run, state="skipped", reason="failed or cancelled, or needs what is")
        elif decision.action == "skip":
            yield run.run_id, Outcome(run=run, state="skipped", reason=decision.reason)
        elif decision.action == "blocked":
            yield run.run_id, Outcome(run=run, state="blocked", reason=decision.reason)
        elif state.state in HELD:
            if state.job is None:
                outside[run.run_id] = run.name
            yield run.run_id, Outcome(run=run, state="waiting", reason=decision.reason)
        elif beyond:
            outside[run.run_id] = beyond[0]
            reason = f"needs {beyond[0]}, which runs outside the queue; submit again once it is done"
            yield run.run_id, Outcome(run=run, state="blocked", reason=reason)
