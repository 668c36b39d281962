"""``cxr verify``: all holds on a run as it was trained, and whatever is changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from in_process_cli import run_cli
from safetensors.torch import save_file
from tiny_runs import FinishedRun, tiny_config, tiny_runtime

from datasets.beton.reader import Beton
from datasets.files import read_json, write_json
from harness.config import Weights
from harness.runs.checkpoint import read_weights
from harness.runs.folder import RunFolder
from harness.runs.step_hashes import is_hashed
from harness.training.run import train_run
from harness.verification.predictions import compare_logits

ARITHMETIC = {"device": "a", "threads": 1, "precision": "fp32", "processes": 1, "torch": "2"}


@pytest.fixture
def folder(finished_run: FinishedRun, tmp_path: Path) -> RunFolder:
    """A copy of the finished run."""
    return RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / "runs" / finished_run.config.run_id)))


def verify(folder: RunFolder, data_dir: Path, *options: str) -> tuple[int, dict[str, str]]:
    """The command's exit status, and the outcome of each check."""
    where = ("--data-dir", str(data_dir), "--device", "cpu", "--num-workers", "1")
    status = run_cli("verify", str(folder.path), *where, *options)
    checks = read_json(folder.certificate_file)["checks"]
    return status, {check["name"]: check["outcome"] for check in checks}


def failed(outcomes: dict[str, str]) -> list[str]:
    return [name for name, outcome in outcomes.items() if outcome == "failed"]


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    document = read_json(path)
    change(document)
    write_json(path, document)


def test_everything_holds_on_a_run_as_it_was_trained(
    folder: RunFolder, tiny_beton: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine steps are all there are: the run is trained again to its end, and none of its files is touched."""
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    status, outcomes = verify(folder, tiny_beton.parent, "--steps", "9", "--json")
    assert (status, set(outcomes.values())) == (0, {"held"})
    assert {"config", "best epoch", "weights", "beton", "beton pages", "training steps"} < set(outcomes)
    assert {"test images", "test scores", "test predictions", "training epochs", "training result"} < set(outcomes)
    assert {"validation images", "validation scores", "validation predictions", "calibration"} < set(outcomes)
    printed = json.loads(capsys.readouterr().out)
    assert printed == read_json(folder.certificate_file)
    assert (printed["held"], printed["failed"], printed["steps"]) == (len(outcomes), 0, 9)
    steps = next(check for check in printed["checks"] if check["name"] == "training steps")
    assert list(steps["expected"]) == ["step 1", "step 2", "step 5"]
    assert {path: path.read_bytes() for path in before} == before


def test_one_changed_weight_is_found(folder: RunFolder, tiny_beton: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder.best_dir / "model.safetensors"
    tensors, metadata = read_weights(path)
    tensors["classifier.bias"][0].nextafter_(torch.tensor(9.0))
    path.unlink()  # it may be a hard link
    save_file(tensors, path, metadata)
    status, outcomes = verify(folder, tiny_beton.parent)
    assert (status, failed(outcomes)[0]) == (1, "weights")
    assert "failed: weights" in capsys.readouterr().out


def test_one_changed_prediction_is_found(folder: RunFolder, tiny_beton: Path) -> None:
    frame = pd.read_parquet(folder.predictions_file)
    value = frame.at[7, "logit:Mass"]
    frame.loc[7, "logit:Mass"] = np.nextafter(value, np.float32(9))
    frame.to_parquet(folder.predictions_file, index=False)
    status, outcomes = verify(folder, tiny_beton.parent)
    assert status == 1
    assert "test predictions" in failed(outcomes)
    checks = {check["name"]: check for check in read_json(folder.certificate_file)["checks"]}
    assert "1 of 18 images have other logits" in checks["test predictions"]["what"]


def test_one_changed_byte_of_a_page_is_found(folder: RunFolder, tiny_beton: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_beton.parent, tmp_path / "data", ignore=shutil.ignore_patterns("images")))
    beton = Beton.open(data / tiny_beton.name)
    with beton.path.open("r+b") as file:
        file.seek(int(beton.final_layout.offsets(beton.num_samples)[3]) + 17)
        value = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([value ^ 1]))
    status, outcomes = verify(folder, data)
    assert (status, failed(outcomes)) == (1, ["beton pages"])


@pytest.mark.parametrize(
    ("file", "keys", "value", "names"),
    [
        ("result.json", ("test", "auroc", "Mass"), 0.9, ["test scores"]),
        ("result.json", ("best_epoch",), 7, ["best epoch"]),
        ("result.json", ("content_hash",), "sha256:0", ["beton", "calibration"]),
        ("config.json", ("config", "seed"), 1, ["config"]),
        (
            "config.json",
            ("config", "network", "name"),
            "densenet121",
            ["config", "test predictions", "validation predictions"],
        ),
    ],
)
def test_a_changed_value_is_named(
    folder: RunFolder, tiny_beton: Path, file: str, keys: tuple[str, ...], value: object, names: list[str]
) -> None:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    edit_json(folder.path / file, change)
    status, outcomes = verify(folder, tiny_beton.parent)
    assert (status, failed(outcomes)) == (1, names)


def test_a_changed_threshold_is_found(folder: RunFolder, tiny_beton: Path) -> None:
    def change(document: Any) -> None:
        document["labels"]["Mass"]["thresholds"]["f1"] += 0.5

    edit_json(folder.calibration_file, change)
    status, outcomes = verify(folder, tiny_beton.parent)
    assert (status, failed(outcomes)) == (1, ["calibration"])


def test_validation_scores_of_a_run_that_moved_need_not_be_those_of_its_file(
    folder: RunFolder, tiny_beton: Path
) -> None:
    """Training scored them where it ran then, the file is of the last start."""
    frame = pd.read_parquet(folder.validation_file)
    frame["logit:Mass"] += np.float32(0.25)
    frame.to_parquet(folder.validation_file, index=False)
    assert "validation scores" in failed(verify(folder, tiny_beton.parent)[1])
    before = {"devices": ["NVIDIA H100"], "precision": "bf16"}
    edit_json(folder.provenance_file, lambda document: document.update(earlier_starts=[before]))
    assert verify(folder, tiny_beton.parent)[1]["validation scores"] == "not checked"


def test_another_split_of_the_beton_is_found(folder: RunFolder, tiny_beton: Path) -> None:
    frame = pd.read_parquet(folder.predictions_file)
    frame.loc[4, ["patient", "target:Nodule"]] = ["other", 1 - frame.at[4, "target:Nodule"]]
    frame.to_parquet(folder.predictions_file, index=False)
    _, outcomes = verify(folder, tiny_beton.parent)
    assert "test images" in failed(outcomes)
    frame.iloc[1:].to_parquet(folder.predictions_file, index=False)
    _, outcomes = verify(folder, tiny_beton.parent)
    assert {"test images", "test scores", "test predictions"} <= set(failed(outcomes))


def test_a_changed_step_is_found(folder: RunFolder, tiny_beton: Path) -> None:
    lines = list(folder.steps())
    lines[1]["weights_hash"] = "0" * 64
    folder.steps_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, outcomes = verify(folder, tiny_beton.parent, "--steps", "3")
    assert (status, failed(outcomes)) == (1, ["training steps"])
    assert outcomes["training epochs"] == "held"
    assert "training result" not in outcomes


def test_what_older_code_did_not_record_is_told(folder: RunFolder, tiny_beton: Path) -> None:
    """Without the arithmetic of the run, predictions are compared to a tolerance."""
    folder.steps_file.unlink()
    edit_json(folder.provenance_file, lambda document: document.pop("arithmetic"))
    frame = pd.read_parquet(folder.predictions_file)
    frame["logit:Mass"] += np.float32(1e-5)
    frame.to_parquet(folder.predictions_file, index=False)
    _, outcomes = verify(folder, tiny_beton.parent, "--steps", "2")
    assert outcomes["training steps"] == "not checked"
    assert outcomes["test predictions"] == "held"
    frame["logit:Mass"] += np.float32(1.0)
    frame.to_parquet(folder.predictions_file, index=False)
    assert verify(folder, tiny_beton.parent)[1]["test predictions"] == "failed"


def test_steps_of_another_device_are_not_made_again(folder: RunFolder, tiny_beton: Path) -> None:
    text = folder.steps_file.read_text()
    folder.steps_file.write_text(text.replace('"device": "', '"device": "NVIDIA '))
    status, outcomes = verify(folder, tiny_beton.parent, "--steps", "2")
    assert (status, outcomes["training steps"]) == (0, "not checked")


def test_initial_weights_are_found_whatever_the_name_of_their_folder(
    folder: RunFolder, finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path
) -> None:
    first = RunFolder(folder.path.rename(folder.path.parent / "first"))
    config = tiny_config(epochs=1, init=Weights(kind="run", run=finished_run.config))
    second = RunFolder(first.path.parent / "second")
    folders = {finished_run.config.run_id: first.path, config.run_id: second.path}
    train_run(config, tiny_runtime(tiny_beton, tmp_path, run_folders=folders))
    status, outcomes = verify(second, tiny_beton.parent, "--steps", "1")
    assert (status, outcomes["training steps"]) == (0, "held")
    first.path.rename(tmp_path / "elsewhere")
    status, outcomes = verify(second, tiny_beton.parent, "--steps", "1")
    assert (status, outcomes["training steps"]) == (0, "not checked")
    status, outcomes = verify(second, tiny_beton.parent, "--steps", "1", "--runs-dir", str(tmp_path))
    assert (status, outcomes["training steps"]) == (0, "held")


def test_without_a_beton_what_needs_one_is_not_checked(folder: RunFolder, tmp_path: Path) -> None:
    edit_json(folder.provenance_file, lambda document: document.update(beton="nowhere.beton"))
    status, outcomes = verify(folder, tmp_path)
    unchecked = {name for name, outcome in outcomes.items() if outcome == "not checked"}
    assert {"beton", "beton pages", "test images", "test predictions"} <= unchecked
    assert (status, outcomes["test scores"], outcomes["weights"]) == (0, "held", "held")


def test_a_run_that_is_not_finished_is_refused(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.result_file.unlink()
    assert run_cli("verify", str(folder.path)) == 2
    assert "the run is not finished (no result.json)" in capsys.readouterr().err
    assert not folder.certificate_file.exists()


def test_logits_of_another_device_may_differ_by_the_coarser_precision() -> None:
    logits = np.array([[0.5, -4.0], [1.0, 2.0]], np.float32)
    other = logits + np.array([[0, 0], [0, 0.03]], np.float32)
    same = compare_logits("a", logits, logits.copy(), recorded={}, ours=ARITHMETIC)
    assert (same.outcome, same.found) == ("held", 0.0)
    assert compare_logits("a", logits, other, recorded=ARITHMETIC, ours=ARITHMETIC).outcome == "failed"
    on_gpu = {**ARITHMETIC, "device": "b"}
    assert compare_logits("a", logits, other, recorded=on_gpu, ours=ARITHMETIC).outcome == "failed"
    bf16 = compare_logits("a", logits, other, recorded={**on_gpu, "precision": "bf16"}, ours=ARITHMETIC)
    assert (bf16.outcome, bf16.expected) == ("held", pytest.approx(0.2))
    assert "device: b, here a; precision: bf16, here fp32" in bf16.what


def test_steps_are_hashed_ever_more_seldom() -> None:
    hashed = [step for step in range(1, 1001) if is_hashed(step)]
    assert hashed == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
