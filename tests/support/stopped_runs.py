"""Runs of ``cxr train`` as processes of their own that a signal stops at a chosen step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from datasets.files import write_json
from harness.config import RunConfig, to_dict
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run
from harness.training.signals import Interrupted

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def command(config: RunConfig, beton: Path, runs_dir: Path, *options: str) -> list[str]:
    """``cxr train`` of a config, by a launcher that can stop it at a step."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    write_json(runs_dir / "config.json", to_dict(config))
    arguments = [str(HERE / "stop_at_step.py"), "train", str(runs_dir / "config.json"), "--runs-dir", str(runs_dir)]
    arguments += ["--beton", str(beton), "--device", "cpu", "--num-workers", "1", "--num-threads", "1", *options]
    if "--precision" not in options:
        arguments += ["--precision", "fp32"]
    return [sys.executable, *arguments]


def run(
    arguments: Sequence[str], *, stop: signal.Signals | None = None, at_step: int = 0, rank: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Let a command run to its end, or until it sends itself ``stop`` in its ``at_step``-th step, from 1."""
    variables = {**environment(stop, at_step, rank), **variables}
    return subprocess.run(
        arguments, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200, check=False
    )


def environment(stop: signal.Signals | None = None, at_step: int = 0, rank: int = 0) -> dict[str, str]:
    """Variables of a command that is to send itself ``stop`` in its ``at_step``-th step, from 1."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE)])
    return variables if stop is None else {**variables, "TEST_STOP": f"{int(stop)} {at_step} {rank}"}


def train_until(config: RunConfig, runtime: RuntimeConfig, stop: signal.Signals, at_step: int) -> int:
    """Train in this process until it sends itself ``stop`` in its ``at_step``-th step, from 1; the exit status."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        if done == at_step:
            os.kill(os.getpid(), stop)

    hook = register_optimizer_step_post_hook(count)
    try:
        with pytest.raises(Interrupted) as ended:
            train_run(config, runtime)
    finally:
        hook.remove()
    return ended.value.exit_status
