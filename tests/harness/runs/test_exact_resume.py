"""A run stopped at any step, by any signal, ends with the bits of the run that was never stopped."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from stopped_runs import command, run, train_until
from tiny_runs import FinishedRun, hash_of, read_status, tiny_runtime, without_times

from harness.runs.folder import RunFolder
from harness.training.run import train_run

STEPS = 9
"""Optimiser steps of the finished run: 3 epochs of 3."""


def assert_same_numbers(ours: RunFolder, theirs: RunFolder) -> None:
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert hash_of(ours.best_dir) == hash_of(theirs.best_dir)
    assert without_times(ours) == without_times(theirs)
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()
    assert ours.steps_file.read_text() == theirs.steps_file.read_text()


@pytest.mark.slow
def test_stopped_at_three_random_steps_by_three_signals(
    finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM and SIGINT write a checkpoint of that very step; SIGKILL falls back to the checkpoint before."""
    config, runtime = finished_run.config, tiny_runtime(tiny_beton, tmp_path)
    folder = runtime.folder_of(config)
    arguments = command(config, tiny_beton, tmp_path)
    done = random.randint(1, 3)
    ended = run(arguments, stop=signal.SIGTERM, at_step=done)
    assert ended.returncode == 143, ended.stderr
    assert "re-run the same command to resume" in ended.stderr.splitlines()[-1]
    assert read_status(folder)["state"] == "interrupted"
    at_step = random.randint(1, 3)
    ended = run(arguments, stop=signal.SIGKILL, at_step=at_step)
    assert ended.returncode == -9, ended.stderr
    assert read_status(folder)["state"] == "running"
    done = max(done, (done + at_step - 1) // 3 * 3)  # only whole epochs are kept besides
    at_step = random.randint(1, 2)
    assert train_until(config, runtime, signal.SIGINT, at_step) == 130
    done += at_step
    assert folder.result() is None
    capfd.readouterr()
    result = train_run(config, runtime)
    assert_same_numbers(folder, finished_run.folder)
    assert result["restarts"] in (2, 3)  # the killed start counts once it has left a checkpoint
    assert result["weights_hash"] == finished_run.result["weights_hash"]
    left = (STEPS - done) // 3 * 40 + (24 if done % 3 == 1 else 8 if done % 3 == 2 else 0)
    assert f"{left:,}/{left:,}" in capfd.readouterr().err
