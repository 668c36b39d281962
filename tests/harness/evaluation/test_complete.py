"""What a run leaves for scores and decisions, and how a run of older code comes by it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process_cli import run_cli
from tiny_runs import LABELS, FinishedRun

from datasets.beton.reader import Beton
from datasets.errors import InputError
from harness.evaluation.calibration import Calibration
from harness.evaluation.complete import complete_run
from harness.evaluation.metrics import score
from harness.evaluation.predictions_file import add_attributes, logits_of, read_predictions, targets_of
from harness.runs.folder import RunFolder
from harness.runs.lock import sole_writer
from harness.training import run as training
from harness.training.run import train_run


@pytest.fixture
def copied(finished_run: FinishedRun, tmp_path: Path) -> FinishedRun:
    """The finished run in a folder of its own."""
    runtime = dataclasses.replace(finished_run.runtime, runs_dir=tmp_path / "runs")
    shutil.copytree(finished_run.folder.path, runtime.folder_of(finished_run.config).path)
    return dataclasses.replace(finished_run, runtime=runtime)


@pytest.fixture
def older(copied: FinishedRun) -> FinishedRun:
    """The finished run as code without calibration left it."""
    folder = copied.folder
    folder.validation_file.unlink()
    folder.calibration_file.unlink()
    frame = pd.read_parquet(folder.predictions_file).drop(columns=["view", "sex", "age"])
    frame.to_parquet(folder.predictions_file, index=False)
    return copied


def files_of(folder: RunFolder) -> list[bytes]:
    paths = (folder.predictions_file, folder.validation_file, folder.calibration_file)
    return [path.read_bytes() for path in paths]


def test_a_run_leaves_its_validation_predictions_and_what_is_fitted_to_them(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    frame = read_predictions(folder.validation_file)
    beton = Beton.open(finished_run.runtime.beton_for("chestxray14"))
    assert frame["index"].tolist() == beton.indices("validation").tolist()
    assert list(frame.columns) == list(pd.read_parquet(folder.predictions_file).columns)
    assert (set(frame["view"]), str(frame["age"].dtype)) == ({"frontal"}, "Int16")
    found = score(logits_of(frame), targets_of(frame), LABELS)
    assert found.mean_auroc == finished_run.result["validation"]["mean_auroc"]
    hashes = {name: finished_run.result[name] for name in ("content_hash", "weights_hash")}
    expected = Calibration.fit(logits_of(frame), targets_of(frame), LABELS, **hashes)
    assert Calibration.read(folder.calibration_file) == expected
    assert (expected.sensitivity, expected.specificity) == (0.9, 0.9)


def test_a_run_of_older_code_is_completed_to_the_byte(
    older: FinishedRun, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data-dir", str(older.runtime.data_dir), "--device", "cpu", "--num-threads", "1"]
    command = ["evaluate", str(older.folder.path), "--write", *options]
    assert run_cli(*command, "--num-workers", "1") == 0
    wrote = "wrote validation.parquet, predictions.parquet, calibration.json"
    assert capsys.readouterr().out == f"{older.folder.path}: {wrote}\n"
    assert files_of(older.folder) == files_of(finished_run.folder)
    assert run_cli(*command) == 0
    assert capsys.readouterr().out == f"{older.folder.path}: nothing was lacking\n"
    assert run_cli(*command, "--sensitivity", "0.8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == ["calibration.json"]
    found = Calibration.read(older.folder.calibration_file)
    assert found is not None and (found.sensitivity, found.specificity) == (0.8, 0.9)
    assert all((label.sensitivities["sensitivity"] or 0) >= 0.8 for label in found.labels.values())


def test_logits_that_are_there_are_kept(older: FinishedRun) -> None:
    frame = read_predictions(older.folder.predictions_file)
    frame.loc[0, "logit:Mass"] = np.float32(42)
    frame.to_parquet(older.folder.predictions_file, index=False)
    complete_run(older.folder, older.runtime)
    again = read_predictions(older.folder.predictions_file)
    assert np.array_equal(logits_of(again), logits_of(frame)) and "view" in again


def test_validation_predictions_of_other_weights_are_made_anew(
    copied: FinishedRun, finished_run: FinishedRun
) -> None:
    folder = copied.folder
    document = json.loads(folder.calibration_file.read_text())
    folder.calibration_file.write_text(json.dumps({**document, "weights_hash": "0"}))
    frame = pd.read_parquet(folder.validation_file)
    frame.assign(**{"logit:Mass": np.float32(0)}).to_parquet(folder.validation_file, index=False)
    assert complete_run(folder, copied.runtime) == [folder.validation_file, folder.calibration_file]
    assert files_of(folder) == files_of(finished_run.folder)


def test_what_does_not_fit_is_one_line(older: FinishedRun, tmp_path: Path) -> None:
    folder = older.folder
    document = json.loads(folder.result_file.read_text())
    with sole_writer(folder.path), pytest.raises(InputError, match="in use by process"):
        complete_run(folder, older.runtime)
    with pytest.raises(InputError, match=r"sensitivity = 2 must be above 0 and at most 1"):
        complete_run(folder, older.runtime, sensitivity=2)
    for key, message in (("content_hash", "holds other images or splits"), ("weights_hash", "are not those of")):
        folder.result_file.write_text(json.dumps({**document, key: "sha256:0"}))
        with pytest.raises(InputError, match=message):
            complete_run(folder, older.runtime)
    folder.result_file.unlink()
    with pytest.raises(InputError, match="the run is not finished"):
        complete_run(folder, older.runtime)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--write", "--on", "mimic_cxr"), "leave out --on and --split"),
        (("--specificity", "0.8"), "with --write"),
        (("--write", "--sensitivity", "95"), "--sensitivity 95: expected above 0 and at most 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], message: str, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("evaluate", str(finished_run.folder.path), *options) == 2
    assert message in capsys.readouterr().err


def test_attributes_of_the_dataset_go_into_the_predictions(older: FinishedRun) -> None:
    """By index, whatever the order of the file's rows."""
    beton = dataclasses.replace(Beton.open(older.runtime.beton_for("chestxray14")))
    sites = np.array(["north", "south", "east"])[np.arange(beton.num_samples) % 3]
    beton.__dict__["samples"] = beton.samples.assign(site=sites)
    path = older.folder.predictions_file
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    assert add_attributes(path, beton) and not add_attributes(path, beton)
    frame = read_predictions(path)
    assert list(frame)[:7] == ["index", "path", "patient", "view", "sex", "age", "site"]
    assert frame["site"].tolist() == sites[beton.indices("test")].tolist()


@pytest.mark.parametrize("killed_at", ["write_predictions", "write_calibration", "write_json"])
def test_a_run_killed_while_it_writes_its_results_finishes_the_same(
    copied: FinishedRun, finished_run: FinishedRun, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    folder = copied.folder
    for path in (folder.result_file, folder.predictions_file, folder.validation_file, folder.calibration_file):
        path.unlink()

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            train_run(copied.config, copied.runtime)
    assert not folder.result_file.exists()
    assert folder.validation_file.exists() == (killed_at != "write_predictions")
    assert train_run(copied.config, copied.runtime)["test"] == finished_run.result["test"]
    assert files_of(folder) == files_of(finished_run.folder)
