"""A FIFO or a device in a run folder ends evaluate and export with one line, and never keeps them waiting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_runs import FinishedRun

from datasets.errors import InputError
from harness.evaluation.evaluate import evaluate_run
from harness.export.export import export_run
from harness.runs.folder import RunFolder

WEIGHTS = "checkpoint/best/model.safetensors"


def copy_with_fifo(finished: FinishedRun, folder: Path, name: str) -> RunFolder:
    shutil.copytree(finished.folder.path, folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    return RunFolder(folder)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_evaluate_names_it(finished_run: FinishedRun, tmp_path: Path, name: str) -> None:
    folder = copy_with_fifo(finished_run, tmp_path / "run", name)
    with pytest.raises(InputError, match=f"{name}: not a regular file"):
        evaluate_run(folder, "test", finished_run.runtime)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "result.json", "provenance.json", "predictions.parquet", WEIGHTS])
def test_export_names_it(finished_run: FinishedRun, tmp_path: Path, name: str) -> None:
    folder = copy_with_fifo(finished_run, tmp_path / "run", name)
    beton = finished_run.runtime.beton_for("chestxray14")
    with pytest.raises(InputError, match=f"{name}: not a regular file"):
        export_run(folder.path, tmp_path / "out", beton=beton, onnx=False, write_card=lambda exported: "")
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(60)
def test_a_beton_that_is_a_fifo_is_named(finished_run: FinishedRun, tmp_path: Path) -> None:
    import dataclasses

    os.mkfifo(tmp_path / "fifo.beton")
    runtime = dataclasses.replace(finished_run.runtime, beton=tmp_path / "fifo.beton")
    with pytest.raises(InputError, match=r"fifo\.beton: not a regular file"):
        evaluate_run(finished_run.folder, "test", runtime)
