"""What ``cxr grid watch`` gives up, and what it waits out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from grid_stand_in import small_runs

from datasets.errors import InputError
from launch.cli.grid.submit import MAX_IN_VAIN, refuse_in_vain
from launch.executors.base import QueueError
from launch.executors.commands import ask
from launch.executors.registry import make_executor
from launch.plan.history import History
from launch.plan.run_state import RunState

RUN = small_runs()["pretrain"]


def test_a_run_that_no_job_starts_is_not_queued_for_ever(tmp_path: Path) -> None:
    queued: Counter[tuple[str, int]] = Counter()
    executor, found = make_executor("slurm", tmp_path), {RUN.run_id: RunState(job="7_0")}
    for _ in range(MAX_IN_VAIN):
        refuse_in_vain(queued, [RUN], found, executor)
    (tmp_path / RUN.run_id).mkdir()
    History(tmp_path / RUN.run_id, owner=True).start("7_0")
    for _ in range(MAX_IN_VAIN):
        refuse_in_vain(queued, [RUN], found, executor)
    with pytest.raises(InputError, match=r"^pretrain: 5 jobs, the last 7_0, left the queue and did not "):
        refuse_in_vain(queued, [RUN], found, executor)


def test_a_queue_that_does_not_answer_is_told_from_a_missing_command() -> None:
    with pytest.raises(QueueError, match=r"^false: exit status 1$"):
        ask("false")
    with pytest.raises(InputError, match=r"^no-such-squeue: no such command") as caught:
        ask("no-such-squeue")
    assert not isinstance(caught.value, QueueError)
