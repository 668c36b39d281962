"""How the starts of a queued run are told, and when they lead nowhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from launch.plan.history import History, read_history, same_way


@pytest.mark.parametrize(
    ("ways", "alike"),
    [
        ([("failed", "step 3"), ("failed", "step 4")], 2),
        ([("failed", "disk full"), ("failed", "step 4")], 1),
        ([("killed", None), (None, None)], 2),
        ([("failed", "killed by SIGKILL (out of memory?): epoch 1"), ("failed", "killed by SIGKILL")], 2),
        ([("failed", "x"), ("preempted", None)], 0),
        ([("failed", "x"), ("preempted", None), ("failed", "x")], 1),
        ([("time limit", None)] * 3, 3),
        ([], 0),
    ],
)
def test_starts_that_end_the_same_way_are_counted(ways: list[tuple[str | None, str | None]], alike: int) -> None:
    starts = [{"ending": ending, "reason": reason, "checkpoint": 5.0} for ending, reason in ways]
    assert same_way(starts, 5.0) == alike
    assert same_way(starts, 6.0) == 0


def test_a_start_settles_how_the_one_before_ended(tmp_path: Path) -> None:
    history = History(tmp_path, owner=True)
    for restart, ending in enumerate(("terminated", None, "time limit", "done")):
        history.start("12_3", restart=restart)
        if ending is not None:
            history.end(ending)
        time.sleep(0.001)
    starts = read_history(tmp_path)
    assert [start["ending"] for start in starts] == ["requeued", "killed", "time limit", "done"]
    assert all(start["started"] <= (start["ended"] or time.time()) for start in starts)
    history.start("13")
    history.announce("cancelled")  # and killed before it could say more
    history.start("14")
    assert [start["ending"] for start in read_history(tmp_path)[-2:]] == ["cancelled", None]
    History(tmp_path / "other", owner=False).start("1")
    assert read_history(tmp_path / "other") == []


def test_a_start_killed_right_after_its_run_was_done_is_told_as_done(tmp_path: Path) -> None:
    history = History(tmp_path, owner=True)
    for job in ("1", "2"):
        history.start(job)
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert [start["ending"] for start in read_history(tmp_path)] == ["killed", "done"]
    history.end("done")
    assert read_history(tmp_path)[-1]["ended"] is not None
