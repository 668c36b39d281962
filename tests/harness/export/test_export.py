"""cxr export: the folder stands alone, says what the run says, and its ONNX file gives torch's probabilities."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from accelerator_state import forget_accelerator
from safetensors.torch import load_file
from scipy.special import expit
from tiny_runs import LABELS, SIZE, FinishedRun

from datasets.beton.reader import Beton
from datasets.convert.preprocess import Preprocessing
from datasets.errors import InputError
from harness.evaluation.calibration import RULES
from harness.export.export import export_run
from harness.export.onnx import check_onnx
from harness.export.saved_model import open_calibration, open_model
from harness.runs.checkpoint import load_weights
from launch.cli import main
from launch.report.write.documents import model_card

FILES = ["README.md", "calibration.json", "config.json", "labels.json"]
FILES += ["model.onnx", "model.safetensors", "preprocessing.json"]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _umask() -> int:
    """The process's own, which can be read by setting it alone."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.fixture(scope="module")
def folder(finished_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, exported by the command."""
    out = tmp_path_factory.mktemp("exported") / "model"
    assert call("export", finished_run.folder.path, "--out", out) == 0
    forget_accelerator()
    return out


def test_the_folder_holds_the_runs_weights_labels_and_preprocessing(folder: Path, finished_run: FinishedRun) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o666 & ~_umask()}
    tensors, own = load_file(folder / "model.safetensors"), load_weights(finished_run.folder.best_dir)[0]
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    assert json.loads((folder / "labels.json").read_text()) == list(LABELS)
    document = json.loads((folder / "preprocessing.json").read_text())
    assert document["settings"] == asdict(Preprocessing(size=SIZE))
    assert document["steps"]["mean"] == [0.485, 0.456, 0.406]
    assert document["steps"]["std"] == [0.229, 0.224, 0.225]
    assert document["onnx"]["input"]["shape"] == ["batch", 1, SIZE, SIZE]


def test_the_onnx_file_gives_the_stored_test_predictions(folder: Path, finished_run: FinishedRun) -> None:
    """In onnxruntime alone, from the beton's pages, in batches of any size."""
    onnx.checker.check_model(folder / "model.onnx")
    frame = pd.read_parquet(finished_run.folder.predictions_file)
    pages = Beton.open(finished_run.runtime.beton_for("chestxray14")).gather(frame["index"].to_numpy())[:, None]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(uint8)", ["batch", 1, SIZE, SIZE])
    expected = frame[[f"logit:{label}" for label in LABELS]].to_numpy()
    for rows in (slice(0, 1), slice(1, len(pages))):
        probability, logit = session.run(["probability", "logit"], {"image": pages[rows]})
        assert np.abs(logit - expected[rows]).max() < 1e-4
        assert np.abs(probability - expit(expected[rows])).max() < 1e-5
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(LABELS)


def test_other_weights_are_caught_by_the_check(folder: Path, finished_run: FinishedRun) -> None:
    network = open_model(finished_run.folder.path).network
    real = np.empty((0, 1, SIZE, SIZE), dtype=np.uint8)
    same = check_onnx(network, folder / "model.onnx", size=SIZE, opset=0, real=real)
    assert (same.passed, same.random_images, same.real_images) == (True, 12, 0)
    with torch.no_grad():
        network.classifier.bias[1] += 0.5
    assert not check_onnx(network, folder / "model.onnx", size=SIZE, opset=0, real=real).passed


def test_an_exported_folder_predicts_as_its_run_does(
    folder: Path, finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved elsewhere, with neither run nor beton beside it."""
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    image = finished_run.runtime.data_dir / "images" / "0008.png"
    found = []
    for model in (finished_run.folder.path, moved):
        assert call("predict", model, image, "--json", "--device", "cpu", "--workers", 1) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]


def test_the_card_says_the_scores_with_intervals(folder: Path, finished_run: FinishedRun) -> None:
    card = (folder / "README.md").read_text()
    test = finished_run.result["test"]
    assert f"| **mean** | {test['mean_auroc']:.4f} | " in card
    for label in LABELS:
        assert f"| {label} | {test['auroc'][label]:.4f} | " in card
    assert "- images by split: train 54, validation 18, test 18; 90 patients" in card
    assert finished_run.result["weights_hash"] in card
    assert "operator set" in card
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    wanted = ["Files and use", "Data", "Test scores", "Calibration and operating points", "Preprocessing"]
    assert headings == [*wanted, "Training", "Provenance", "Intended use and limits", "Citation"]


def test_the_export_holds_the_runs_calibration_and_the_card_says_it(folder: Path, finished_run: FinishedRun) -> None:
    assert (folder / "calibration.json").read_bytes() == finished_run.folder.calibration_file.read_bytes()
    card = (folder / "README.md").read_text().splitlines()
    calibration = open_calibration(open_model(folder))
    assert calibration is not None and tuple(calibration.labels) == LABELS
    start = card.index("|---|---:|---:|---:|---:|---:|")
    assert card[start - 1].endswith("| Youden | sensitivity of 0.9 | specificity of 0.9 | F1 |")
    for line, (name, label) in zip(card[start + 1 :], calibration.labels.items(), strict=False):
        points = [
            f"{label.thresholds[rule]:.3f} ({label.sensitivities[rule]:.3f}, {label.specificities[rule]:.3f})"
            for rule in RULES
        ]
        assert line == f"| {name} | {label.temperature:.3f} | {' | '.join(points)} |"
    assert "Probabilities are not calibrated" not in "\n".join(card)


def test_a_run_of_older_code_is_exported_without_a_calibration(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = Path(shutil.copytree(finished_run.folder.path, tmp_path / "run")), tmp_path / "out"
    for name in ("calibration.json", "validation.parquet"):
        (run / name).unlink()
    frame = pd.read_parquet(run / "predictions.parquet").drop(columns=["view", "sex", "age"])
    frame.to_parquet(run / "predictions.parquet", index=False)
    assert call("export", run, "--out", out, "--no-onnx") == 0
    assert "no calibration, which 'cxr evaluate RUN --write' makes" in capsys.readouterr().err
    assert not (out / "calibration.json").exists()
    card = (out / "README.md").read_text()
    assert "Probabilities are not calibrated, and no threshold was chosen." in card and "temperature" not in card
    assert f"| **mean** | {finished_run.result['test']['mean_auroc']:.4f} | " in card


def test_other_peoples_folders_and_unfinished_runs_are_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    for place, path in ((other, finished_run.folder.path), (other / "thesis.tex", finished_run.folder.path)):
        with pytest.raises(InputError, match="--out"):
            export_run(path, place, beton=None, onnx=False, write_card=model_card)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
    unfinished = tmp_path / "unfinished"
    shutil.copytree(finished_run.folder.path, unfinished)
    (unfinished / "result.json").unlink()
    with pytest.raises(InputError, match="not finished"):
        export_run(unfinished, tmp_path / "out", beton=None, onnx=False, write_card=model_card)
    assert not (tmp_path / "out").exists()


def test_an_earlier_export_is_replaced_and_names_are_text(finished_run: FinishedRun, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(finished_run.folder.path, run)
    document = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**document, "devices": ["<b>GPU</b> | *x*"], "phantom": True}))
    for _ in range(2):
        export_run(run, out, beton=None, onnx=False, write_card=model_card)
    assert sorted(path.name for path in out.iterdir()) == [name for name in FILES if name != "model.onnx"]
    card = (out / "README.md").read_text()
    assert "\\<b\\>GPU\\</b\\> \\| \\*x\\*" in card
    assert "**Made-up images.**" in card
