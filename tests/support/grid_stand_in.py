"""Stand-ins for trainings: real processes that write what a run writes, in milliseconds.

As a module: small runs and the command that starts their stand-ins. As a script: ``train FOLDER BEHAVIOUR`` is one
training; ``submit RUNS_DIR SLOTS BEHAVIOURS`` is a submit of ``small_runs`` (behaviours as JSON, by name).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TRACE = "trace.jsonl"


def train(folder: Path, behaviour: str) -> None:
    """Behave as ``BEHAVIOUR[:SECONDS]`` says: ok, fail, fault, fault-once, crash, silent, stubborn."""
    kind, _, seconds = behaviour.partition(":")
    if kind == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_status(folder, "running")
    print(f"training in {folder.name}", flush=True)
    trace(folder, "start")  # last, so that whoever waits for it finds the status, the log and the signals set
    time.sleep(float(seconds or 0.05))
    if kind == "crash":
        print("something went wrong", flush=True)
        sys.exit(3)
    first_fault = not (folder / "fault").exists()
    if kind == "fault" or (kind == "fault-once" and first_fault):
        (folder / "fault").touch()
        write_status(folder, "failed", error="AcceleratorError: CUDA error: unspecified launch failure")
        sys.exit(1)
    if kind == "fail":
        write_status(folder, "failed", error="ValueError: bad images")
        sys.exit(1)
    if kind != "silent":
        write_status(folder, "done")
        write(folder / "result.json", {"test": {"mean_auroc": 0.75}, "epochs": 2, "images_per_s": 100.0})
    trace(folder, "end")


def write_status(folder: Path, state: str, error: str | None = None) -> None:
    status = {"state": state, "epoch": 1, "epochs": 2, "updated": time.time(), "pid": os.getpid()}
    write(folder / "status.json", {**status, "host": socket.gethostname(), "error": error, "mean_auroc": 0.6})


def write(path: Path, value: object) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value))
    beside.replace(path)


def trace(folder: Path, event: str) -> None:
    """Append one line; appends of this size are atomic."""
    line = json.dumps({"event": event, "id": folder.name, "pid": os.getpid(), "time": time.monotonic()})
    with (folder.parent / TRACE).open("a") as lines:
        lines.write(line + "\n")


def read_trace(runs_dir: Path) -> list[dict[str, object]]:
    path = runs_dir / TRACE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def small_runs():
    """Two prerequisites and four students: a and b need one of them each, c needs both, d needs a and c's teacher."""
    from harness.config import AttentionTransfer, DataConfig, RunConfig, Weights
    from launch.grids.grid import GridRun

    data = DataConfig(dataset="chexpert", subset="200", image_size=64)

    def config(seed: int, init: RunConfig | None = None, teacher: RunConfig | None = None) -> RunConfig:
        weights = Weights(kind="none") if init is None else Weights(kind="run", run=init)
        if teacher is None:
            return RunConfig(data=data, init=weights, seed=seed)
        objective = AttentionTransfer(teacher=Weights(kind="run", run=teacher))
        return RunConfig(data=data, init=weights, objective=objective, seed=seed)

    pretrain, teacher = config(0), config(1)
    a = config(2, pretrain)
    configs = {
        "pretrain": pretrain,
        "teacher": teacher,
        "a": a,
        "b": config(3, None, teacher),
        "c": config(4, pretrain, teacher),
        "d": config(5, a, teacher),
    }
    kinds = {"pretrain": "prerequisite", "teacher": "prerequisite"}
    return {n: GridRun(name=n, kind=kinds.get(n, "repetition"), config=value) for n, value in configs.items()}


def command_for(runs_dir: Path, behaviours: Mapping[str, str]):
    """The command of a stand-in, ``ok`` where nothing else is said."""

    def command(run) -> list[str]:
        behaviour = behaviours.get(run.name, "ok")
        return [sys.executable, "-I", "-S", __file__, "train", str(runs_dir / run.run_id), behaviour]

    return command


def executor(runs_dir: Path, behaviours: Mapping[str, str], *, slots: int = 2, grace_s: float = 2.0, progress=None):
    from launch.executors.local.executor import Scheduler
    from launch.executors.local.progress import Progress
    from launch.executors.placement import Slot

    return Scheduler(
        runs_dir=runs_dir,
        command=command_for(runs_dir, behaviours),
        slots=[Slot() for _ in range(slots)],
        progress=progress or Progress(6),
        facts={},
        priority={},
        grace_s=grace_s,
    )


def plan(runs_dir: Path, runs=None):
    from launch.plan.decide import decide
    from launch.plan.run_state import read_states

    wanted = list((runs or small_runs()).values())
    return decide(wanted, read_states(wanted, runs_dir, {}))


def start_submit(runs_dir: Path, behaviours: dict[str, str], *, slots: int = 2) -> subprocess.Popen[str]:
    arguments = ["submit", str(runs_dir), str(slots), json.dumps(behaviours)]
    # Under nohup SIGHUP is ignored, which children inherit.
    command = ["env", "--default-signal=HUP", sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_starts(runs_dir: Path, count: int) -> list[int]:
    """Process ids of the stand-ins once so many have started."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        events = [event for event in read_trace(runs_dir) if event["event"] == "start"]
        if len(events) >= count:
            return [int(str(event["pid"])) for event in events]
        time.sleep(0.02)
    raise AssertionError("the runs did not start")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), sys.argv[3])
    else:
        where, behaviours = Path(sys.argv[2]), json.loads(sys.argv[4])
        from datasets.logging_setup import set_up_logging
        from launch.executors.local.progress import showing_progress

        set_up_logging()
        try:
            with showing_progress(6) as progress:
                ended = executor(where, behaviours, slots=int(sys.argv[3]), progress=progress).run(plan(where))
        except KeyboardInterrupt:
            sys.exit(130)
        print(json.dumps({outcome.run.name: [outcome.state, outcome.reason] for outcome in ended}))
