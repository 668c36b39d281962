"""The loop, end to end on a tiny beton: resume is exact, weight 0 is transfer learning, divergence is an error."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from arithmetic import needs
from tiny_runs import (
    FinishedRun,
    attention_transfer,
    hash_of,
    interrupted,
    read_status,
    tiny_config,
    tiny_runtime,
    tiny_schedule,
    without_times,
)

from datasets.files import read_json
from harness.config import FitNet, NetworkConfig, Weights
from harness.networks import build_network, draw_weights
from harness.runs.checkpoint import load_weights
from harness.runs.folder import RunFolder
from harness.training.run import train_run


def test_the_loss_falls_and_every_epoch_has_its_line(finished_run: FinishedRun) -> None:
    lines = list(finished_run.folder.metrics())
    assert [(line["epoch"], line["step"], line["learning_rate"]) for line in lines] == [
        (0, 3, 1e-3),
        (1, 6, 1e-3),
        (2, 9, 5e-4),
    ]
    losses = [line["train"]["loss"] for line in lines]
    assert losses[2] < losses[0]
    for line in lines:
        assert line["train"]["attention"] is None
        assert line["train"]["loss"] == line["train"]["cross_entropy"]
        assert 0 <= line["train"]["mean_auroc"] <= 1
        assert set(line["validation"]["auroc"]) == {"Effusion", "Mass", "Nodule"}
        assert line["images_per_s"] == pytest.approx(40 / (line["data_wait_s"] + line["compute_s"]))


def test_an_interrupted_run_ends_with_the_same_bits(
    finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path
) -> None:
    config, runtime = finished_run.config, tiny_runtime(tiny_beton, tmp_path)
    interrupted(config, runtime, after_epochs=1)
    folder = runtime.folder_of(config)
    assert read_status(folder)["state"] == "interrupted"
    assert folder.result() is None
    resumed = train_run(config, runtime)
    assert resumed["restarts"] == 1
    assert_same_numbers(folder, finished_run.folder)


@needs("bf16")
def test_an_interrupted_run_in_bf16_ends_with_the_same_bits(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=2)
    whole = tiny_runtime(tiny_beton, tmp_path / "whole", precision="bf16")
    broken = tiny_runtime(tiny_beton, tmp_path / "broken", precision="bf16")
    train_run(config, whole)
    interrupted(config, broken, after_epochs=1)
    train_run(config, broken)
    assert read_json(broken.folder_of(config).provenance_file)["precision"] == "bf16"
    assert_same_numbers(broken.folder_of(config), whole.folder_of(config))


def assert_same_numbers(ours: RunFolder, theirs: RunFolder) -> None:
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert hash_of(ours.best_dir) == hash_of(theirs.best_dir)
    assert without_times(ours) == without_times(theirs)
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()
    assert ours.validation_file.read_bytes() == theirs.validation_file.read_bytes()


def test_weight_zero_is_transfer_learning_bit_for_bit(finished_run: FinishedRun) -> None:
    config = dataclasses.replace(finished_run.config, objective=attention_transfer(0.0))
    result = train_run(config, finished_run.runtime)
    folder = finished_run.runtime.folder_of(config)
    assert result["attention_weight"] == 0.0
    assert result["weights_hash"] == finished_run.result["weights_hash"]
    assert hash_of(folder.last_dir) == hash_of(finished_run.folder.last_dir)
    for ours, theirs in zip(without_times(folder), without_times(finished_run.folder), strict=True):
        assert ours["train"].pop("attention") > 0
        theirs["train"].pop("attention")
        assert ours == theirs


def test_attention_transfer_reports_its_parts(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=1, objective=attention_transfer(0.5))
    runtime = tiny_runtime(tiny_beton, tmp_path)
    result = train_run(config, runtime)
    (line,) = runtime.folder_of(config).metrics()
    train = line["train"]
    assert train["loss"] == pytest.approx(train["cross_entropy"] + 0.5 * train["attention"])
    assert 1.0 < train["attention"] < 2.0  # eq. (2) of unrelated planes is near the square root of 2
    assert result["attention_weight"] == 0.5


def test_what_an_objective_trains_beside_the_network_is_resumed_too(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=2, objective=FitNet(teacher=Weights(kind="none")))
    whole, broken = tiny_runtime(tiny_beton, tmp_path / "whole"), tiny_runtime(tiny_beton, tmp_path / "broken")
    assert train_run(config, whole)["attention_weight"] == 1.0
    interrupted(config, broken, after_epochs=1)
    train_run(config, broken)
    assert_same_numbers(broken.folder_of(config), whole.folder_of(config))
    state = torch.load(broken.folder_of(config).last_dir / "state.pt", weights_only=True)
    assert not torch.equal(state["beside"]["weight"].flatten(1), torch.eye(32))


def test_another_seed_is_another_run(finished_run: FinishedRun, tiny_beton: Path, tmp_path: Path) -> None:
    config, runtime = tiny_config(epochs=1, seed=1), tiny_runtime(tiny_beton, tmp_path)
    train_run(config, runtime)
    (line,) = runtime.folder_of(config).metrics()
    assert line["train"]["loss"] != next(finished_run.folder.metrics())["train"]["loss"]


def test_a_frozen_scope_leaves_the_rest_as_it_was(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=1, network=NetworkConfig(scope="last34", frozen_bn="eval"))
    runtime = tiny_runtime(tiny_beton, tmp_path)
    train_run(config, runtime)
    trained = load_weights(runtime.folder_of(config).last_dir)[0]
    start = build_network(config.network, 3)
    draw_weights(start, seed=0)
    moved = {name for name, value in start.state_dict().items() if not torch.equal(value, trained[name])}
    assert "features.transition3.conv.weight" in moved
    assert {name for name in moved if name.startswith(("features.conv0", "features.denseblock3"))} == set()


def test_clamped_gradients_cannot_move_the_weights_far(tiny_beton: Path, tmp_path: Path) -> None:
    config, runtime = tiny_config(schedule=tiny_schedule(1, clip_value=1e-15)), tiny_runtime(tiny_beton, tmp_path)
    train_run(config, runtime)
    start = build_network(config.network, 3)
    draw_weights(start, seed=0)
    trained = load_weights(runtime.folder_of(config).last_dir)[0]
    for name, parameter in start.named_parameters():
        # Adam divides by its eps of 1e-8 at least, so three steps of 1e-3 move a weight by 3e-10 at most.
        torch.testing.assert_close(trained[name], parameter.detach(), rtol=0, atol=1e-9)


def test_a_diverging_run_says_so_and_keeps_its_last_checkpoint(tiny_beton: Path, tmp_path: Path) -> None:
    schedule = tiny_schedule(2, learning_rate=1e30)
    config, runtime = tiny_config(schedule=schedule), tiny_runtime(tiny_beton, tmp_path)
    with pytest.raises(FloatingPointError, match="not finite"):
        train_run(config, runtime)
    folder = runtime.folder_of(config)
    status = read_status(folder)
    assert status["state"] == "failed"
    assert "not finite" in status["error"]
    assert all(math.isfinite(line["train"]["loss"]) for line in folder.metrics())
    assert folder.result() is None


def test_early_stopping_ends_the_run_and_a_restart_agrees(tiny_beton: Path, tmp_path: Path) -> None:
    schedule = tiny_schedule(30, learning_rate=1e-12, patience=1)
    config, runtime = tiny_config(schedule=schedule), tiny_runtime(tiny_beton, tmp_path)
    result = train_run(config, runtime)
    assert result["epochs"] == result["best_epoch"] + 2 < 30
    folder = runtime.folder_of(config)
    folder.result_file.unlink()
    again = train_run(config, runtime)
    assert again["epochs"] == result["epochs"]
    assert again["test"] == result["test"]
