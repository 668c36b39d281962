"""How ``cxr train`` starts: what it imports, and what it says to another launcher that starts it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from in_process_cli import run_cli
from tiny_runs import FinishedRun, tiny_config, write_tiny_beton

from harness.config import to_dict
from launch.cli import main

HEAVY = ("accelerate", "ffcv", "numba", "scipy", "sklearn", "torch", "torchvision")


def heavy_modules(code: str, folder: Path, *arguments: str) -> tuple[list[str], str]:
    """The heavy modules that a process of this code has loaded at its end, and its standard error."""
    code = f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(list(sys.modules))))\n{code}"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    return [name for name in HEAVY if name in modules], done.stderr


def test_a_finished_run_is_told_without_the_modules_of_training(tmp_path: Path) -> None:
    run = FinishedRun.train(write_tiny_beton(tmp_path), tmp_path / "runs")
    command = ("train", str(run.folder.path), "--data-dir", str(tmp_path), "--num-processes", "2")
    heavy, said = heavy_modules("from launch.cli import main; main()", tmp_path, *command)
    assert heavy == []
    assert said == f"{run.folder.path}: already done\n"


def test_training_loads_scikit_learn_when_it_scores(tmp_path: Path) -> None:
    heavy, _ = heavy_modules("import harness.training.run", tmp_path)
    assert "torch" in heavy
    assert "sklearn" not in heavy


def test_under_accelerates_launcher_of_one_process_it_does_not_train_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment of ``accelerate launch --cpu --num_processes 2``."""
    write_tiny_beton(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text('[data]\ndataset = "chestxray14"\nimage_size = 64\nsubset = "40"\n')
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(SystemExit) as caught:
        main(["train", "run.toml"])
    assert caught.value.code == 2
    assert "give cxr train --num-processes N, or use torchrun" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_done_run_keeps_its_best_checkpoint_alone(tmp_path: Path) -> None:
    write_tiny_beton(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(to_dict(tiny_config(epochs=1))))
    where = ("--data-dir", str(tmp_path), "--out", str(tmp_path / "run"), "--device", "cpu", "--precision", "fp32")
    assert run_cli("train", str(tmp_path / "run.json"), *where) == 0
    assert [path.name for path in (tmp_path / "run" / "checkpoint").iterdir()] == ["best"]
