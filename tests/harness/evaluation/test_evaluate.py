"""evaluate_run and predictions.parquet: the numbers agree with each other, and other labels are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process_cli import run_cli
from split_beton import Row, make_beton
from tiny_runs import LABELS, FinishedRun, tiny_config, write_tiny_beton

from datasets.beton.reader import Beton
from datasets.beton.sidecar import read_sidecar, write_sidecar
from datasets.errors import InputError
from datasets.files import read_json, write_json
from harness.evaluation.complete import complete_run
from harness.evaluation.evaluate import evaluate_run, shared_labels
from harness.evaluation.metrics import score
from harness.export.saved_model import open_model
from harness.runs.folder import RunFolder
from harness.training.preflight import check_labels
from launch.cli import main


def test_predictions_carry_ids_targets_and_logits_that_give_the_result(finished_run: FinishedRun) -> None:
    frame = pd.read_parquet(finished_run.folder.predictions_file)
    beton = Beton.open(finished_run.runtime.beton_for("chestxray14"))
    columns = [*(f"target:{label}" for label in LABELS), *(f"logit:{label}" for label in LABELS)]
    assert list(frame.columns) == ["index", "path", "patient", "view", "sex", "age", *columns]
    assert frame["index"].tolist() == beton.indices("test").tolist()
    assert frame["path"].tolist() == beton.samples["path"].to_numpy()[beton.indices("test")].tolist()
    targets = frame[columns[:3]].to_numpy()
    logits = frame[columns[3:]].to_numpy()
    assert (targets.dtype, logits.dtype) == (np.uint8, np.float32)
    assert np.array_equal(targets, beton.targets[beton.indices("test")])
    assert targets[-1, 0] == 255
    assert score(logits, targets, LABELS).to_dict() == finished_run.result["test"]


def test_evaluating_again_gives_the_recorded_scores(finished_run: FinishedRun) -> None:
    test = evaluate_run(finished_run.folder, "test", finished_run.runtime)
    assert {key: test[key] for key in finished_run.result["test"]} == finished_run.result["test"]
    assert test["best_epoch"] == finished_run.result["best_epoch"]
    validation = evaluate_run(finished_run.folder, "validation", finished_run.runtime)
    assert validation["mean_auroc"] == finished_run.result["validation"]["mean_auroc"]
    assert evaluate_run(finished_run.folder, "train", finished_run.runtime)["num_samples"] == 40


def test_labels_are_matched_by_name_whatever_their_order(finished_run: FinishedRun, tmp_path: Path) -> None:
    """The same images with the labels turned round: each output is still scored against its own label."""
    turned = write_tiny_beton(tmp_path, labels=LABELS[::-1])
    runtime = dataclasses.replace(finished_run.runtime, beton=turned)
    result = evaluate_run(finished_run.folder, "train", runtime)
    beton = Beton.open(turned)
    assert list(result["auroc"]) == list(LABELS)
    assert beton.labels == LABELS[::-1]
    own = evaluate_run(finished_run.folder, "train", finished_run.runtime)
    # The quadrants went with the columns: Mass, in the middle, stays, and the outer two change places.
    assert result["auroc"]["Mass"] == own["auroc"]["Mass"]
    assert result["auroc"]["Effusion"] != own["auroc"]["Effusion"]


def test_other_labels_and_sizes_are_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    other = write_tiny_beton(tmp_path, labels=("Effusion", "Mass", "Hernia"))
    runtime = dataclasses.replace(finished_run.runtime, beton=other)
    with pytest.raises(InputError, match=r"only in the run: Nodule; only in the beton: Hernia"):
        evaluate_run(finished_run.folder, "test", runtime)


def test_a_run_without_a_checkpoint_is_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        evaluate_run(RunFolder(tmp_path), "test", finished_run.runtime)
    (tmp_path / "config.json").write_bytes(finished_run.folder.config_file.read_bytes())
    with pytest.raises(InputError, match="no checkpoint there; train the run first"):
        evaluate_run(RunFolder(tmp_path), "test", finished_run.runtime)


def test_a_run_whose_config_was_changed_afterwards_is_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(finished_run.folder.path, tmp_path / "copy"))
    document = json.loads(folder.config_file.read_text())
    document["config"]["data"]["subset"] = "full"
    folder.config_file.write_text(json.dumps(document))
    said = rf"metadata run_id = '{finished_run.config.run_id}', but the run's config says 'chestxray14_full_"
    for read in (
        lambda: evaluate_run(folder, "test", finished_run.runtime),
        lambda: complete_run(folder, finished_run.runtime),
        lambda: open_model(folder.path),
    ):
        with pytest.raises(InputError, match=said):
            read()


def test_the_command_prints_a_table_or_json_alone(
    finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data-dir", str(finished_run.runtime.data_dir), "--device", "cpu", "--num-workers", "1"]
    command = ["evaluate", str(finished_run.folder.path), *options, "--num-threads", "1"]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--json"])
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)["auroc"] == finished_run.result["test"]["auroc"]
    with pytest.raises(SystemExit):
        main(command)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{finished_run.config.run_id}: chestxray14 test, 18 images"
    assert lines[1].split() == ["Effusion", f"{finished_run.result['test']['auroc']['Effusion']:.4f}"]


def test_single_class_labels_are_said_and_refused_where_nothing_is_left(
    tiny_beton: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beton = Beton.open(tiny_beton)
    targets = beton.targets.copy()
    targets[beton.indices("validation"), 1] = 0
    changed = dataclasses.replace(beton)
    changed.__dict__["targets"] = targets
    check_labels(tiny_config(), changed)
    assert capsys.readouterr().err == (
        "warning: split validation: no AUROC, and no part in its mean, for Mass: one class only\n"
    )
    targets[beton.indices("validation")] = 1
    with pytest.raises(InputError, match="no label of the validation split has both classes"):
        check_labels(tiny_config(), changed)


@pytest.fixture
def clinic(finished_run: FinishedRun, tmp_path: Path) -> Path:
    """The run's own images as another dataset, ``clinic``, that says Hernia in place of Mass."""
    own = finished_run.runtime.beton_for("chestxray14")
    for path in own.parent.glob("chestxray14.*"):
        shutil.copy(path, tmp_path / path.name.replace("chestxray14", "clinic"))
    sidecar = read_sidecar(tmp_path / "clinic.beton")
    write_sidecar(
        tmp_path / "clinic.beton",
        dataclasses.replace(sidecar, dataset="clinic", labels=("Effusion", "Hernia", "Nodule")),
    )
    return tmp_path / "clinic.beton"


def test_a_label_of_another_name_for_the_same_finding_is_shared(finished_run: FinishedRun, clinic: Path) -> None:
    sidecar = read_sidecar(clinic)
    labels = ("Pleural Effusion", "Hernia", "Nodule")
    write_sidecar(clinic, dataclasses.replace(sidecar, labels=labels))
    assert shared_labels(Beton.open(clinic), ("Nodule", "Effusion", "Mass"), clinic) == {"Nodule": 2, "Effusion": 0}


def test_another_dataset_is_scored_over_the_shared_labels(
    finished_run: FinishedRun, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / "run")))
    runtime = dataclasses.replace(finished_run.runtime, data_dir=clinic.parent)
    result = evaluate_run(folder, "test", runtime, dataset="clinic")
    own = finished_run.result["test"]["auroc"]
    assert result["auroc"] == {"Effusion": own["Effusion"], "Nodule": own["Nodule"]}
    assert (result["dataset"], result["left_out"]) == ("clinic", ["Mass"])
    assert [read_json(path) for path in folder.evaluations_dir.iterdir()] == [result]
    assert (
        run_cli("evaluate", str(folder.path), "--on", "clinic", "--data-dir", str(tmp_path), "--device", "cpu") == 0
    )
    assert "clinic test" in (printed := capsys.readouterr().out)
    assert "not in clinic, left out: Mass" in printed


def test_a_dataset_with_more_labels_than_the_run(finished_run: FinishedRun, clinic: Path, tmp_path: Path) -> None:
    """Mixed with their copies the images rank as before."""
    own, out = str(finished_run.runtime.beton_for("chestxray14")), str(tmp_path / "mix.beton")
    assert run_cli("beton", "merge", own, str(clinic), "--name", "mix", "--out", out, "--subset-seed", "0") == 0
    folder = RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / "run")))
    runtime = dataclasses.replace(finished_run.runtime, data_dir=tmp_path)
    result = evaluate_run(folder, "test", runtime, dataset="mix")
    assert len(Beton.open(tmp_path / "mix.beton").labels) == 4
    assert result["auroc"] == finished_run.result["test"]["auroc"] and result["left_out"] == []


def test_a_dataset_without_a_shared_label_is_refused(finished_run: FinishedRun, clinic: Path, tmp_path: Path) -> None:
    sidecar = read_sidecar(clinic)
    write_sidecar(clinic, dataclasses.replace(sidecar, labels=("Fracture", "Hernia", "Edema")))
    runtime = dataclasses.replace(finished_run.runtime, data_dir=clinic.parent)
    folder = RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / "run")))
    with pytest.raises(InputError, match=r"none of the labels of .*: Fracture, Hernia, Edema there, Effusion"):
        evaluate_run(folder, "test", runtime, dataset="clinic")
    assert not folder.evaluations_dir.exists()


def test_on_and_beton_exclude_each_other(finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("evaluate", str(finished_run.folder.path), "--on", "clinic", "--beton", "a.beton") == 2
    assert "give either --on or --beton" in capsys.readouterr().err


@pytest.fixture
def sample(finished_run: FinishedRun, tmp_path: Path) -> list[str]:
    """The sample of the run's dataset, whose test split has a patient of the run's training; how to score on it."""
    rows: list[Row] = [("0000.png", "0000", "test", 1), ("x.png", "x", "test", 2), ("y.png", "y", "train", 3)]
    make_beton(tmp_path, "chestxray14_5.6k", rows, size=64)
    folder = shutil.copytree(finished_run.folder.path, tmp_path / "runs" / finished_run.config.run_id)
    write_json(folder / "provenance.json", {**read_json(folder / "provenance.json"), "beton": None})
    return ["evaluate", str(folder), "--on", "chestxray14_5.6k", "--data-dir", str(tmp_path), "--device", "cpu"]


def test_a_split_with_a_patient_of_the_training_is_refused_unless_forced(
    finished_run: FinishedRun, sample: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in finished_run.runtime.beton_for("chestxray14").parent.glob("chestxray14.*"):
        shutil.copy(path, tmp_path / path.name)
    assert run_cli(*sample) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    where = "both its training images and the test split of chestxray14_5.6k.beton"
    told = f"own training, {finished_run.config.name}: 1 patients in {where}: 0000"
    assert f"its weights have seen what is to be scored ({told}; " in error
    assert not RunFolder(Path(sample[1])).evaluations_dir.exists()
    assert run_cli(*sample, "--force-seen", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["seen_in_training"][0] == told
    assert read_json(Path(sample[1]) / "evaluations" / "chestxray14_5.6k_test.json") == result
    assert run_cli(*sample, "--force-seen") == 0
    assert f"SEEN IN TRAINING: {told}" in capsys.readouterr().out
    assert run_cli(*sample, "--split", "train", "--json") == 0  # of patient y alone
    assert "seen_in_training" not in json.loads(capsys.readouterr().out)


def test_where_the_files_do_not_tell_a_dataset_of_the_same_images_is_warned_of(
    finished_run: FinishedRun, sample: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(*sample, "--json") == 0
    captured = capsys.readouterr()
    assert "seen_in_training" not in json.loads(captured.out)
    source = f"own training, {finished_run.config.name}, trained on chestxray14"
    assert f"{source}: it holds the same images as chestxray14_5.6k.beton" in captured.err


def test_a_damaged_page_is_one_line(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = finished_run.runtime.beton_for("chestxray14")
    for file in source.parent.glob(f"{source.stem}.*"):
        shutil.copyfile(file, tmp_path / file.name)
    beton = Beton.open(tmp_path / source.name)
    sample = int(beton.indices("test")[3])
    with beton.path.open("r+b") as handle:
        handle.seek(int(beton.metadata["image"][sample]))
        handle.write(bytes([beton.page(sample).flat[0] ^ 1]))
    assert run_cli("evaluate", str(finished_run.folder.path), "--beton", str(beton.path)) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"error: {beton.path}: image {sample} (") and "checksum" in told
