"""Start a training, strike it once in its second epoch, and pass on the signals that come and how it ends.

``python -m launch.drill.guard STRIKE FOLDER COMMAND...`` stands where the command of the training would stand, which
is not changed by it: a training is stopped, killed and deprived of its disk from outside.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets.errors import InputError
from datasets.files import read_json_object, write_json
from harness.runs.folder import RunFolder
from launch.executors.prepare import TrainCommand
from launch.executors.signals import StopSignals, caught_signals, dying_with_parent
from launch.grids.grid import GridRun

Strike = Literal["none", "hold", "interrupt", "kill", "disk"]
"""``hold`` stops the training until somebody asks it to end, ``interrupt`` has its executor ask that, ``kill`` is
SIGKILL, ``disk`` leaves no room for a checkpoint."""
NOTES_NAME = "drill.json"
HOLD_S = 300.0
"""A training that nobody asks to end goes on after this time."""
POLL_S = 0.01
ROOM = 65_536
"""Bytes that a checkpoint may have on the full disk."""
IN_NAMESPACE = "CXR_DRILL_NAMESPACE"
"""Environment variable of a guard that may mount a file system, which its training alone sees."""


@dataclass(frozen=True, kw_only=True)
class GuardedCommand(TrainCommand):
    """The command of a run behind a guard."""

    strikes: dict[str, Strike] = field(default_factory=dict)
    """By name of the run."""

    def __call__(self, run: GridRun) -> list[str]:
        """Return the command line of a run and its guard."""
        python, *arguments = super().__call__(run)
        strike = self.strikes.get(run.name, "none")
        return [python, "-m", "launch.drill.guard", strike, str(self.runs_dir / run.run_id), python, *arguments]


class Guard:
    """The notes of one run, and its training while it lives."""

    def __init__(self, strike: Strike, folder: RunFolder, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process, self.started = folder, process, time.time()
        self.notes: dict[str, Any] = {"began": time.time(), "struck": None, "held_s": 0.0, "how": "", "ended": None}
        self.notes |= read_notes(folder)
        self.strike: Strike = "none" if self.notes["struck"] else strike

    def watch(self, signals: StopSignals) -> int:
        """Wait for the training's end and return its exit status; strike it once, pass SIGINT on."""
        self._write()
        passed = 0
        while self.process.poll() is None:
            if self.strike != "none" and not signals.count and self._epochs_done() >= 1:
                self._strike(signals)
            if signals.count > passed:
                passed = signals.count
                self.process.send_signal(signal.SIGINT)
            time.sleep(POLL_S)
        self._write(ended=time.time())
        return self.process.returncode

    def _epochs_done(self) -> int:
        try:
            status = self.folder.status()
        except InputError:
            return 0
        return int(status.get("epoch") or 0) if (status.get("updated") or 0.0) > self.started else 0

    def _strike(self, signals: StopSignals) -> None:
        strike, self.strike = self.strike, "none"
        if strike == "kill":
            self.process.kill()
            self._write(struck=time.time(), how="SIGKILL")
        elif strike == "disk":
            self._write(struck=time.time(), how=self._fill_disk())
        else:
            self._hold(signals, interrupt=strike == "interrupt")

    def _fill_disk(self) -> str:
        """Leave no room for a checkpoint; return how."""
        checkpoints = self.folder.last_dir.parent
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "cxr-drill", str(checkpoints)]
        if os.environ.get(IN_NAMESPACE) and subprocess.run(mount, check=False).returncode == 0:
            return f"a tmpfs of {ROOM >> 10} KiB over its checkpoints (ENOSPC)"
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
        return f"a file-size limit of {ROOM >> 10} KiB (EFBIG), since it may mount no tmpfs here"

    def _hold(self, signals: StopSignals, *, interrupt: bool) -> None:
        """Stop the training's processes until they are asked to end; the time does not count as lost."""
        start = time.time()
        os.killpg(self.process.pid, signal.SIGSTOP)
        self._write(struck=start, how="held until it was stopped")
        if interrupt:
            os.kill(os.getppid(), signal.SIGINT)
        while not signals.count and time.time() < start + HOLD_S:
            time.sleep(POLL_S)
        os.killpg(self.process.pid, signal.SIGCONT)
        self._write(held_s=time.time() - start)

    def _write(self, **values: Any) -> None:
        self.notes |= values
        write_json(self.folder.path / NOTES_NAME, self.notes)


def read_notes(folder: RunFolder) -> dict[str, Any]:
    """Return what a run's guards wrote: when it began and ended and was struck (unix s), how, and for how long (s)
    it was held; empty before its first start."""
    return read_json_object(folder.path / NOTES_NAME)


def main(strike: Strike, folder: Path, command: list[str]) -> int:
    """Guard one start of a training; return its exit status, or end by the signal that ended it."""
    if os.environ.get("RANK", "0") != "0":  # the first process of a run stands for all
        os.execvp(command[0], command)
    if strike == "disk" and not read_notes(RunFolder(folder)).get("struck"):
        _enter_namespace()
    with caught_signals([signal.SIGINT]) as signals:
        # A group of its own: whoever signals this one means the guard, which passes it on once.
        process = subprocess.Popen(dying_with_parent(command), close_fds=False, process_group=0)
        status = Guard(strike, RunFolder(folder), process).watch(signals)
    if status < 0:
        os.kill(os.getpid(), -status)
    return status


def _enter_namespace() -> None:
    """Become a guard that may mount file systems, where the kernel lets users do so."""
    if IN_NAMESPACE in os.environ:
        return
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        done = subprocess.run([*alone, "mount", "-t", "tmpfs", "cxr-drill", "/tmp"], capture_output=True, check=False)
    except OSError:
        return
    if done.returncode == 0:
        os.environ[IN_NAMESPACE] = "1"
        os.execvp(alone[0], [*alone, sys.executable, "-m", "launch.drill.guard", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))  # type: ignore[arg-type]
