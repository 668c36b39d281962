"""Runs of ``cxr train`` as processes of their own that a signal stops at a chosen step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.files import write_json
from harness.config import RunConfig, to_dict

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def command(config: RunConfig, beton: Path, runs_dir: Path, *options: str) -> list[str]:
    """``cxr train`` of a config, by a launcher that can stop it at a step."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    write_json(runs_dir / "config.json", to_dict(config))
    arguments = [str(HERE / "stop_at_step.py"), "train", str(runs_dir / "config.json"), "--runs-dir", str(runs_dir)]
    arguments += ["--beton", str(beton), "--device", "cpu", "--num-workers", "1", "--num-threads", "1", *options]
    return [sys.executable, *arguments]


def run(
    arguments: Sequence[str], *, stop: signal.Signals | None = None, at_step: int = 0, rank: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Let a command run to its end, or until it sends itself ``stop`` in its ``at_step``-th step, from 1."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE)])
    if stop is not None:
        environment["TEST_STOP"] = f"{int(stop)} {at_step} {rank}"
    return subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
