"""One process alone trains a run or writes an export; the second says who holds it, a killed one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stopped_runs import command, environment, run
from tiny_runs import FinishedRun, tiny_config, tiny_runtime

from datasets.errors import InputError
from harness.config import RunConfig
from harness.export.export import export_run
from harness.runs.folder import RunFolder
from harness.runs.lock import LOCK_NAME, RunLock, is_locked, sole_writer
from harness.runs.metrics_log import MetricsLog
from launch.executors.process import RunProcess

CONFIG, SHORT = tiny_config(epochs=2), tiny_config(epochs=1)


@contextmanager
def stopped_in_its_second_step(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """``cxr train`` that has stopped itself (SIGSTOP) in a step, its lock held; let go on at the end."""
    process = subprocess.Popen(
        arguments, env=environment(signal.SIGSTOP, 2), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        while os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG) == (0, 0):
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=200)


@pytest.mark.slow
def test_a_second_training_is_refused_and_the_first_ends_as_if_alone(tiny_beton: Path, tmp_path: Path) -> None:
    arguments = command(CONFIG, tiny_beton, tmp_path)
    folder = RunFolder(tmp_path / CONFIG.run_id)
    with stopped_in_its_second_step(arguments) as first:
        second = run(arguments)
        assert second.returncode == 2
        holder = f"in use by process {first.pid} on {socket.gethostname()}"
        assert second.stderr == f"error: {folder.path}: {holder}; wait until it has ended, or stop it\n"
        assert folder.status()["state"] == "running"
        two = run(command(CONFIG, tiny_beton, tmp_path, "--num-processes", "2"))
        assert two.returncode == 2, two.stderr
        assert two.stderr.splitlines() == second.stderr.splitlines()
    assert first.returncode == 0
    assert [record["epoch"] for record in folder.metrics()] == [0, 1]
    assert not is_locked(folder.path)


@pytest.mark.slow
def test_a_killed_training_leaves_no_lock(tiny_beton: Path, tmp_path: Path) -> None:
    arguments = command(CONFIG, tiny_beton, tmp_path)
    assert run(arguments, stop=signal.SIGKILL, at_step=4).returncode == -9
    folder = RunFolder(tmp_path / CONFIG.run_id)
    assert (folder.path / LOCK_NAME).exists()
    assert not is_locked(folder.path)
    again = run(arguments)
    assert again.returncode == 0, again.stderr
    assert [record["epoch"] for record in folder.metrics()] == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--num-processes", "2")])
def test_a_grids_training_takes_over_the_lock_that_the_grid_holds(
    tiny_beton: Path, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    folder = RunFolder(tmp_path / SHORT.run_id)
    lock = RunLock.acquire(folder.path)
    assert lock is not None
    process = RunProcess.start(command(SHORT, tiny_beton, tmp_path, *options), folder, lock)
    lock.release()
    assert is_locked(folder.path)
    while (status := process.poll()) is None:
        time.sleep(0.05)
    assert status == 0, process.log_tail(20)
    assert str(process.process.pid) in (folder.path / LOCK_NAME).read_text() or options
    assert not is_locked(folder.path)


def test_a_descriptor_of_another_file_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = RunLock.acquire(tmp_path / "a")
    theirs = RunLock.acquire(tmp_path / "b")
    assert mine is not None
    assert theirs is not None
    for value in (*mine.environment.values(), "x", "-1", "9" * 30):
        monkeypatch.setenv(next(iter(mine.environment)), value)
        assert RunLock.inherit(tmp_path / "b") is None
    mine.release()
    theirs.release()


def test_where_there_are_no_locks_a_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with sole_writer(tmp_path):
        assert "this file system has no file locks" in caplog.text
    with pytest.raises(InputError, match="this file system has no file locks; use a --runs-dir on another"):
        RunLock.acquire(tmp_path)


def test_a_second_export_of_one_folder_is_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    out, path = tmp_path / "model", finished_run.folder.path
    arguments = [sys.executable, "-m", "launch.cli", "export", str(path), "--out", str(out), "--no-onnx"]
    seconds: list[subprocess.CompletedProcess[str]] = []

    def start_another(_exported: object) -> str:
        seconds.append(run(arguments))
        return "card"

    export_run(path, out, beton=None, onnx=False, write_card=start_another)
    assert seconds[0].returncode == 2
    assert re.fullmatch(rf"error: {out}: in use by process {os.getpid()} on .*\n", seconds[0].stderr)
    assert (out / "README.md").read_text() == "card"
    assert [found.name for found in tmp_path.iterdir()] == ["model"]
    assert run(arguments).returncode == 0


def test_each_epoch_is_in_the_metrics_once(tiny_beton: Path, tmp_path: Path) -> None:
    config: RunConfig = tiny_config(epochs=4)
    folder = tiny_runtime(tiny_beton, tmp_path).folder_of(config)
    folder.path.mkdir()
    lines = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]
    text = "".join(f'{{"epoch": {epoch}, "step": {step}}}\n' for epoch, step in lines)
    folder.metrics_file.write_text(text)
    MetricsLog(folder, owner=True, first_epoch=2, tensorboard=False).close()
    assert [(record["epoch"], record["step"]) for record in folder.metrics()] == [(0, 2), (1, 4)]
