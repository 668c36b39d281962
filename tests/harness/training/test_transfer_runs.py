"""Whole runs with the further objectives: what is trained beside the student is resumed and averaged as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import FinishedRun, hash_of, interrupted, tiny_config, tiny_runtime, without_times

from harness.config import FitNet, LogitDistillation, NetworkConfig, Weights
from harness.training.run import train_run

SUPPORT = Path(__file__).resolve().parents[2] / "support"
HINTS = FitNet(teacher=Weights(kind="none"), weight=2.0)


@pytest.mark.slow
def test_a_resumed_run_has_the_regressor_that_it_had(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=3, objective=HINTS)
    whole, parts = tiny_runtime(tiny_beton, tmp_path / "whole"), tiny_runtime(tiny_beton, tmp_path / "parts")
    result = train_run(config, whole)
    interrupted(config, parts, after_epochs=1)
    again = train_run(config, parts)
    assert again["restarts"] == 1
    assert again["weights_hash"] == result["weights_hash"]
    assert result["attention_weight"] == 2.0
    assert without_times(parts.folder_of(config)) == without_times(whole.folder_of(config))
    found, expected = (
        torch.load(runtime.folder_of(config).last_dir / "state.pt", weights_only=True) for runtime in (parts, whole)
    )
    regressor = found["beside"]
    assert not torch.equal(regressor["weight"][:, :, 0, 0], torch.eye(32))
    assert all(torch.equal(value, expected["beside"][name]) for name, value in regressor.items())
    assert hash_of(parts.folder_of(config).last_dir) == hash_of(whole.folder_of(config).last_dir)


@pytest.mark.slow
def test_a_run_of_ours_teaches_by_its_outputs(
    tiny_beton: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = tiny_runtime(tiny_beton, tmp_path)
    teacher = tiny_config(epochs=1, network=NetworkConfig(name="densenet121"))
    train_run(teacher, runtime)
    config = tiny_config(epochs=1, objective=LogitDistillation(teacher=Weights(kind="run", run=teacher), weight=0.5))
    assert config.needs == (teacher,)
    result = train_run(config, runtime)
    assert result["attention_weight"] == 0.5
    assert "logit distillation over 3 of 3 labels: Effusion, Mass, Nodule" in capsys.readouterr().err
    (line,) = FinishedRun(config, runtime, result).folder.metrics()
    trained = line["train"]
    assert trained["loss"] == pytest.approx(trained["cross_entropy"] + 0.5 * trained["attention"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_average_the_regressors_gradient(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(SUPPORT.parent.parent), str(SUPPORT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(SUPPORT / "two_regressors.py"), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    shared, whole = json.loads(out.read_text())
    assert max(map(abs, whole)) > 0.01
    assert shared == pytest.approx(whole, rel=1e-4, abs=1e-7)
