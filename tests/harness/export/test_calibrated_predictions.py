"""cxr predict --calibrated: probabilities and decisions are those of the run's own calibration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process_cli import run_cli
from tiny_runs import LABELS, FinishedRun

from harness.evaluation.calibration import RULES, Calibration
from harness.evaluation.predictions_file import logits_of, read_predictions
from harness.export.predict import Decider, predict_images
from harness.export.saved_model import open_calibration, open_model

OPTIONS = ("--device", "cpu", "--workers", "1")


@pytest.fixture
def copy(finished_run: FinishedRun, tmp_path: Path) -> Path:
    """The finished run in a folder of its own, its calibration less that of Mass."""
    run = Path(shutil.copytree(finished_run.folder.path, tmp_path / "run"))
    document = json.loads((run / "calibration.json").read_text())
    none = dict.fromkeys(RULES)
    names = ("thresholds", "sensitivities", "specificities")
    document["labels"]["Mass"] = {"temperature": None, **dict.fromkeys(names, none)}
    (run / "calibration.json").write_text(json.dumps(document))
    return run


def image_of(run: FinishedRun) -> str:
    return str(run.runtime.data_dir / "images" / "0008.png")


def calibration_of(folder: Path) -> Calibration:
    found = Calibration.read(folder / "calibration.json")
    assert found is not None
    return found


@pytest.mark.parametrize("rule", RULES)
def test_decisions_on_the_test_images_are_the_runs_own(finished_run: FinishedRun, rule: str) -> None:
    model = open_model(finished_run.folder.path)
    calibration = open_calibration(model)
    assert calibration is not None
    frame = read_predictions(finished_run.folder.predictions_file)
    files = [finished_run.runtime.data_dir / "images" / path for path in frame["path"]]
    decider = Decider(calibration=calibration, rule=rule)
    found = list(predict_images(model, files, finished_run.runtime, batch_size=7, decider=decider))
    logits = logits_of(frame)
    thresholds = [label.thresholds[rule] for label in calibration.labels.values()]
    expected = logits >= np.array(thresholds, dtype=np.float32)
    assert [list(item.decisions or ()) for item in found] == expected.tolist()
    assert 0 < expected.sum() < expected.size
    temperatures = np.array([label.temperature for label in calibration.labels.values()], dtype=float)
    probabilities = np.array([item.probabilities for item in found], dtype=float)
    assert np.abs(probabilities - 1 / (1 + np.exp(-logits / temperatures))).max() < 1e-5


def test_json_csv_and_table_say_the_decision_beside_the_probability(
    finished_run: FinishedRun, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mass is not calibrated here, and every form says so."""
    image = image_of(finished_run)
    command = ("predict", str(copy), image, *OPTIONS, "--calibrated", "--rule", "f1")
    assert run_cli(*command, "--json") == 0
    captured = capsys.readouterr()
    assert "one class only in validation, so neither calibrated nor decided: Mass" in captured.err
    (found,) = json.loads(captured.out)
    assert list(found) == ["path", *LABELS]
    assert found["Mass"] == {"probability": None, "positive": None}
    effusion, nodule = found["Effusion"], found["Nodule"]
    for name, answer in (("Effusion", effusion), ("Nodule", nodule)):
        label = calibration_of(copy).labels[name]
        logit = np.log(answer["probability"] / (1 - answer["probability"])) * label.temperature
        assert answer["positive"] == (logit >= label.thresholds["f1"])
    assert run_cli(*command, "--csv") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head == "path,Effusion,Effusion positive,Mass,Mass positive,Nodule,Nodule positive"
    first, last = (f"{answer['probability']},{answer['positive']:d}" for answer in (effusion, nodule))
    assert line == f"{image},{first},,,{last}"
    assert run_cli(*command) == 0
    shown = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    words = {name.strip(): cell.strip() for name, cell in shown}
    said = {True: "positive", False: "negative"}
    assert words == {
        "Effusion": f"{effusion['probability']:.4f} {said[effusion['positive']]}",
        "Mass": "-",
        "Nodule": f"{nodule['probability']:.4f} {said[nodule['positive']]}",
    }


def test_the_rule_is_youdens_unless_another_is_given(
    finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for rule in ((), ("--rule", "youden")):
        command = ("predict", str(finished_run.folder.path), image_of(finished_run), *OPTIONS, "--calibrated", *rule)
        assert run_cli(*command, "--csv") == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_without_a_calibration_of_these_weights_the_error_names_the_command(
    finished_run: FinishedRun, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, path = image_of(finished_run), copy / "calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_hash": "0"}))
    assert run_cli("predict", str(copy), image, "--calibrated") == 2
    assert "fitted to other weights than those here; 'cxr evaluate RUN --write' makes" in capsys.readouterr().err
    path.unlink()
    assert run_cli("predict", str(copy), image, "--calibrated") == 2
    assert "the model has no calibration.json; 'cxr evaluate RUN --write' makes" in capsys.readouterr().err
    assert run_cli("predict", str(copy), image, *OPTIONS, "--csv") == 0
    assert capsys.readouterr().out.startswith("path,Effusion,Mass,Nodule\n")
    assert run_cli("predict", str(copy), image, "--rule", "f1") == 2
    assert "--rule chooses among the thresholds of --calibrated" in capsys.readouterr().err
