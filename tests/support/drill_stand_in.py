"""A stand-in for a training that a drill strikes: five epochs of two steps, saved and resumed.

As a script: ``FOLDER`` is the run's folder. ``guarded`` gives the command of runs behind guards of the drill.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

EPOCHS, STEP_S = 5, 0.05


def train(folder: Path) -> int:
    """Count steps in place of training; return the exit status."""
    asked: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    last = folder / "checkpoint" / "last"
    step = json.loads((last / "state.json").read_text())["step"] if last.is_dir() else 0
    status(folder, "running", step)
    while step < 2 * EPOCHS:
        time.sleep(STEP_S)
        step += 1
        try:
            if step % 2 == 0 or asked:
                save(last, step)
        except OSError as error:
            words = {28: "the disk is full", 27: "the largest file size allowed here is reached"}[error.errno or 0]
            status(folder, "failed", step, f"InputError: {last}: {words}; make room")
            print(f"error: {last}: {words}; make room", flush=True)
            return 2
        status(folder, "interrupted" if asked else "running", step)
        if asked:
            return 130
    hashes = [{"step": n, "weights_hash": hashed(n), "device": "stand-in"} for n in (1, 2, 5, 10)]
    write(folder / "steps.jsonl", "".join(json.dumps(line) + "\n" for line in hashes))
    write(folder / "result.json", json.dumps({"best_epoch": 4, "weights_hash": hashed(step), "test": {}}))
    status(folder, "done", step)
    return 0


def save(last: Path, step: int) -> None:
    """Write a checkpoint larger than the room that a full disk has."""
    partial = last.with_name("last.partial")
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "weights").write_bytes(bytes(100_000))
    (partial / "state.json").write_text(json.dumps({"step": step}))
    for file in last.glob("*"):
        file.unlink()
    if last.exists():
        last.rmdir()
    partial.rename(last)


def hashed(step: int) -> str:
    return hashlib.sha256(str(step).encode()).hexdigest()


def status(folder: Path, state: str, step: int, error: str | None = None) -> None:
    found = {"state": state, "epoch": step // 2, "epochs": EPOCHS, "updated": time.time(), "pid": os.getpid()}
    write(folder / "status.json", json.dumps({**found, "host": os.uname().nodename, "error": error}))


def write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(text)
    partial.replace(path)


def guarded():
    """The class that stands for ``launch.drill.guard.GuardedCommand``."""
    from launch.drill.guard import GuardedCommand

    class GuardedStandIn(GuardedCommand):
        def __call__(self, run):
            command = super().__call__(run)
            folder = command[4]
            return [*command[:5], command[0], "-I", "-S", __file__, folder]

    return GuardedStandIn


if __name__ == "__main__":
    sys.exit(train(Path(sys.argv[1])))
