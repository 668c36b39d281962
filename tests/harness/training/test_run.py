"""train_run: what a run folder holds, what is recognised, what is refused, and how runs lean on each other."""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors import safe_open
from tiny_runs import (
    LABELS,
    FinishedRun,
    hash_of,
    read_status,
    tiny_config,
    tiny_runtime,
    tiny_schedule,
    write_tiny_beton,
)

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.files import read_json
from harness.config import AttentionTransfer, DataConfig, NetworkConfig, Weights
from harness.runs.lock import LOCK_NAME, is_locked
from harness.training.config_file import load_config
from harness.training.preflight import check_batches, check_networks
from harness.training.run import train_run

ROOT = Path(__file__).resolve().parents[3]


def test_a_finished_run_folder_is_complete(finished_run: FinishedRun) -> None:
    config, folder, result = finished_run.config, finished_run.folder, finished_run.result
    assert folder.config() == config
    assert read_json(folder.result_file) == result
    assert result["config_hash"] == config.hash
    assert result["status"] == "done"
    assert (result["epochs"], result["train_images"], result["world_size"], result["restarts"]) == (3, 40, 1, 0)
    assert result["attention_weight"] is None
    assert result["weights_hash"] == hash_of(folder.best_dir)
    best = [line["validation"] for line in folder.metrics()][result["best_epoch"]]
    assert result["validation"] == {"mean_auroc": best["mean_auroc"], "cross_entropy": best["cross_entropy"]}
    assert best["mean_auroc"] == max(line["validation"]["mean_auroc"] for line in folder.metrics())
    status = read_status(folder)
    assert (status["state"], status["epoch"], status["epochs"], status["error"]) == ("done", 3, 3, None)
    provenance = read_json(folder.provenance_file)
    assert provenance["content_hash"] == result["content_hash"]
    assert provenance["versions"]["ffcv"] == "1.0.2"
    assert provenance["precision"] == "fp32"
    assert provenance["devices"] == ["cpu, 1 threads"]
    hidden = [path.name for path in folder.path.rglob("*") if path.name.startswith(".") or "partial" in path.name]
    assert hidden == [LOCK_NAME]
    assert not is_locked(folder.path)


def test_weights_say_whose_they_are(finished_run: FinishedRun) -> None:
    for folder in (finished_run.folder.best_dir, finished_run.folder.last_dir):
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata.pop("labels")) == list(LABELS)
        assert metadata == {
            "network": "densenet40",
            "scope": "all",
            "image_size": "64",
            "run_id": finished_run.config.run_id,
            "dataset": "chestxray14",
        }


def test_a_finished_run_is_recognised_without_work(
    finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished_run.folder.status_file.read_bytes()
    assert train_run(finished_run.config, finished_run.runtime) == finished_run.result
    assert "already done" in capsys.readouterr().err
    assert finished_run.folder.status_file.read_bytes() == before


def test_another_runs_folder_and_other_images_are_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    other = tiny_config(epochs=1)
    there = {other.run_id: finished_run.folder.path}
    with pytest.raises(InputError, match=r"holds another run \(.*\), whose config differs in schedule.epochs; give"):
        train_run(other, dataclasses.replace(finished_run.runtime, run_folders=there))
    changed = write_tiny_beton(tmp_path / "changed", num_samples=90, seed=1)
    with pytest.raises(InputError, match="was trained on other images"):
        train_run(finished_run.config, dataclasses.replace(finished_run.runtime, data_dir=changed.parent))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(dataset="chestxray14", image_size=256), "images of 64 px, but data.image_size = 256"),
        (DataConfig(dataset="chexpert", image_size=64), "holds chestxray14, but the run's data are chexpert"),
        (DataConfig(dataset="chestxray14", image_size=64, subset="1k"), "subset 1k of split train, which has 54"),
    ],
)
def test_a_beton_that_does_not_fit_is_refused_before_anything_is_written(
    tiny_beton: Path, tmp_path: Path, data: DataConfig, message: str
) -> None:
    runtime = tiny_runtime(tiny_beton, tmp_path / "runs")
    with pytest.raises(InputError, match=message):
        train_run(tiny_config(data=data), dataclasses.replace(runtime, beton=tiny_beton))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("batch_size", "world_size", "image_size", "refused"),
    [
        (13, 1, 32, True),
        (13, 1, 64, False),
        (16, 1, 32, False),
        (1, 1, 32, True),
        (16, 8, 32, True),
        (13, 2, 32, False),
    ],
)
def test_one_image_of_32_px_is_no_batch(
    tiny_beton: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
    world_size: int,
    image_size: int,
    refused: bool,
) -> None:
    """Of 40 images: 13 leaves a last batch of 1, 16 one of 8."""
    for name, value in {
        "RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "WORLD_SIZE": world_size,
    }.items():
        monkeypatch.setenv(name, str(value))
    config = tiny_config(
        data=DataConfig(dataset="chestxray14", image_size=image_size, subset="40"),
        schedule=tiny_schedule(1, batch_size=batch_size),
    )
    with pytest.raises(InputError, match="batch norm needs two") if refused else nullcontext():
        check_batches(config, Beton.open(tiny_beton))


def test_what_a_machine_cannot_do_is_refused(tiny_beton: Path, tmp_path: Path) -> None:
    runtime = tiny_runtime(tiny_beton, tmp_path)
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        train_run(tiny_config(), dataclasses.replace(runtime, precision="fp16"))


def test_a_missing_teacher_fails_the_run_and_says_so(tiny_beton: Path, tmp_path: Path) -> None:
    teacher = Weights(kind="run", run=tiny_config(network=NetworkConfig()))
    config = tiny_config(objective=AttentionTransfer(teacher=teacher))
    runtime = tiny_runtime(tiny_beton, tmp_path)
    with pytest.raises(InputError, match="no such run"):
        train_run(config, runtime)
    assert read_status(runtime.folder_of(config))["state"] == "failed"


def test_a_student_takes_weights_and_teacher_from_runs_given_by_path(tiny_beton: Path, tmp_path: Path) -> None:
    """Two runs put anywhere by --out; a third one names them by their folders."""
    runtime = tiny_runtime(tiny_beton, tmp_path / "runs")
    for name, network in (("teacher", NetworkConfig()), ("start", NetworkConfig(name="densenet40"))):
        config = tiny_config(epochs=1, network=network)
        train_run(config, dataclasses.replace(runtime, run_folders={config.run_id: tmp_path / name}))
    path = tmp_path / "student.toml"
    path.write_text(f"""
        [data]
        dataset = "chestxray14"
        subset = "40"
        image_size = 64
        [network]
        name = "densenet40"
        [init]
        kind = "run"
        run = "{tmp_path}/start"
        [objective]
        method = "attention_transfer"
        beta = 4.0
        [objective.teacher]
        kind = "run"
        run = "{tmp_path}/teacher"
        [schedule]
        epochs = 1
        batch_size = 16
        """)
    config, overrides = load_config(path)
    result = train_run(config, dataclasses.replace(runtime, **overrides))
    assert (result["attention_weight"], result["beta"]) == (0.25, 4.0)
    assert result["name"] == "chestxray14_40_chestxray14_at-chestxray14_d40_s0"
    provenance = read_json(runtime.folder_of(config).provenance_file)
    assert config.init.run is not None
    assert config.init.run.run_id in provenance["started_from"]


def test_validating_seldom_keeps_the_last_epoch_and_the_device_is_named(
    tiny_beton: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = tiny_config(schedule=tiny_schedule(3, validate_every=2))
    runtime = tiny_runtime(tiny_beton, tmp_path, tensorboard=True)
    result = train_run(config, runtime)
    assert any(
        re.fullmatch(r"training on cpu, \d+ threads in fp32 \(as asked\)", message) for message in caplog.messages
    )
    lines = list(runtime.folder_of(config).metrics())
    assert [line["validation"] is None for line in lines] == [True, False, False]
    assert result["best_epoch"] in (1, 2)
    assert list((runtime.folder_of(config).path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(("scope", "told"), [("all", True), ("last34", False)])
def test_frozen_norms_of_a_scope_without_any_are_told(
    scope: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    check_networks(tiny_config(network=NetworkConfig(scope=scope, frozen_bn="eval")))
    assert ("network.frozen_bn = 'eval' has no effect: scope = 'all'" in caplog.text) == told
