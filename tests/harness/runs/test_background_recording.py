"""Epochs that are scored and written while training goes on give the bits of epochs that are written at once."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_network import plain_callbacks, plain_components
from stopped_runs import ROOT, command, environment, train_until
from tiny_runs import FinishedRun, hash_of, read_status, tiny_config, tiny_runtime, tiny_schedule, without_times
from torch.optim.optimizer import register_optimizer_step_post_hook

from datasets.errors import InputError
from harness.devices.accelerator import make_accelerator
from harness.runs import checkpoint
from harness.runs.checkpoint import weights_hash
from harness.runs.folder import RunFolder
from harness.runs.train_state import TrainState
from harness.training.loop import EpochEnd, fit
from harness.training.run import train_run

STEPS = 9
"""Optimiser steps of the finished run: 3 epochs of 3."""


@pytest.fixture(autouse=True)
def _in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a GPU."""
    monkeypatch.setattr("harness.training.run.records_in_background", lambda _: True)


def writes_by(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    monkeypatch.setattr("harness.training.recorder.save_last", write)


def assert_same(ours: RunFolder, theirs: RunFolder) -> None:
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert hash_of(ours.best_dir) == hash_of(theirs.best_dir)
    assert without_times(ours) == without_times(theirs)
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()


def test_training_goes_on_while_an_epoch_is_written(
    finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two epochs are written when two steps of the next one are done; the bits are those of before them."""
    steps, written_at = 0, []
    moved = threading.Condition()

    def count(*_: object) -> None:
        nonlocal steps
        with moved:
            steps += 1
            moved.notify_all()

    def save_late(folder: Path, contents: Any, state: Any, metadata: Any) -> None:
        with moved:
            assert moved.wait_for(lambda: steps >= min(STEPS, 3 * state.epoch + 2), timeout=60)
            written_at.append(steps)
        assert threading.current_thread() is not threading.main_thread()
        checkpoint.save_last(folder, contents, state, metadata)

    writes_by(monkeypatch, save_late)
    runtime = tiny_runtime(tiny_beton, tmp_path)
    hook = register_optimizer_step_post_hook(count)
    try:
        train_run(finished_run.config, runtime)
    finally:
        hook.remove()
    assert [at >= wanted for at, wanted in zip(written_at, (5, 8, 9), strict=True)] == [True] * 3
    assert_same(runtime.folder_of(finished_run.config), finished_run.folder)


def test_stopped_while_an_epoch_is_written(
    finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of the step waits for the epoch's, and holds its validation."""

    def save_slowly(*arguments: Any) -> None:
        time.sleep(0.3)
        checkpoint.save_last(*arguments)

    writes_by(monkeypatch, save_slowly)
    config, runtime = finished_run.config, tiny_runtime(tiny_beton, tmp_path)
    assert train_until(config, runtime, signal.SIGTERM, 4) == 143
    folder = runtime.folder_of(config)
    assert read_status(folder)["state"] == "interrupted"
    assert len(without_times(folder)) == 1
    train_run(config, runtime)
    assert_same(folder, finished_run.folder)


def test_killed_while_an_epoch_is_written(finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path) -> None:
    """The second epoch's checkpoint is half written; the first one's is there, and the run goes on from it."""
    config, runtime = finished_run.config, tiny_runtime(tiny_beton, tmp_path)
    script = """
import os, signal, sys
import harness.training.run
from harness.runs import checkpoint
harness.training.run.records_in_background = lambda _: True
write = checkpoint.write_sealed
written = 0
def write_half(folder, files, identity):
    global written
    written += 1
    if written == 2:
        name, content = next(iter(files.items()))
        (folder / name).write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, files, identity)
checkpoint.write_sealed = write_half
from launch.cli import main
main(sys.argv[1:])
"""
    _, _, *arguments = command(config, tiny_beton, tmp_path)
    ended = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment(), check=False)
    assert ended.returncode == -signal.SIGKILL
    folder = runtime.folder_of(config)
    assert read_status(folder)["epoch"] == 1
    train_run(config, runtime)
    assert_same(folder, finished_run.folder)


@pytest.mark.parametrize("changes", [{"patience": 1}, {"policy": "plateau", "plateau_patience": 1}], ids=str)
def test_what_depends_on_validations_waits_for_them(
    changes: dict[str, Any], tiny_beton: Path, tmp_path: Path
) -> None:
    """Early stopping and learning rates that follow the validation loss, where that rises at last."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    schedule = tiny_schedule(30, **{"learning_rate": 0.02, "select_by": "loss", **changes})

    def trained(epoch_done: Callable[[Callable[[], EpochEnd]], Future[TrainState]]) -> tuple[TrainState, Any]:
        components = plain_components(accelerator, tiny_beton, schedule=schedule)
        callbacks = replace(plain_callbacks(accelerator), epoch_done=epoch_done)
        state = fit(components, TrainState(), callbacks)
        rate = components.optimizer.param_groups[0]["lr"]
        return state, (rate, weights_hash(components.network.state_dict()))

    def late(end: Callable[[], EpochEnd]) -> TrainState:
        time.sleep(0.02)
        return end()[0]

    def at_once(end: Callable[[], EpochEnd]) -> Future[TrainState]:
        done: Future[TrainState] = Future()
        done.set_result(end()[0])
        return done

    with ThreadPoolExecutor(1) as thread:
        behind, found = trained(lambda end: thread.submit(late, end))
    expected = trained(at_once)
    assert (behind.history, found) == (expected[0].history, expected[1])
    assert len(behind.history) < 30 if "patience" in changes else found[0] < 0.02


def test_a_disk_that_is_full_ends_the_run(tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writes_by(monkeypatch, refuse)
    config, runtime = tiny_config(epochs=2), tiny_runtime(tiny_beton, tmp_path)
    with pytest.raises(InputError, match="the last good checkpoint is kept"):
        train_run(config, runtime)
    folder = runtime.folder_of(config)
    assert read_status(folder)["state"] == "failed"
    assert len(without_times(folder)) == 1  # the second epoch is not recorded
    assert not folder.last_dir.exists()
