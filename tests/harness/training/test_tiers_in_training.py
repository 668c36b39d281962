"""The tier is a matter of speed: on the CPU a run gives the same weights to the bit from each."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import FinishedRun, tiny_config, tiny_runtime, without_times

from datasets.errors import InputError
from harness.evaluation.evaluate import evaluate_run
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run


@pytest.fixture
def beton(finished_run: FinishedRun) -> Path:
    return finished_run.runtime.data_dir / "chestxray14.beton"


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_weights_and_metrics_do_not_depend_on_the_tier(
    finished_run: FinishedRun, beton: Path, tmp_path: Path, tier: str
) -> None:
    """The finished run took what ``auto`` chose. The tier is no part of a run's identity either."""
    runtime = tiny_runtime(beton, tmp_path, tier=tier)
    result = train_run(finished_run.config, runtime)
    assert (result["run_id"], result["config_hash"]) == (finished_run.config.run_id, finished_run.config.hash)
    assert result["weights_hash"] == finished_run.result["weights_hash"]
    assert result["test"] == finished_run.result["test"]
    assert without_times(runtime.folder_of(finished_run.config)) == without_times(finished_run.folder)


def test_augmented_by_the_device_a_run_learns_nearly_the_same(
    finished_run: FinishedRun, beton: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    runtime = tiny_runtime(beton, tmp_path, augment_on="device")
    config = tiny_config(epochs=1)
    train_run(config, runtime)
    assert f"{beton.name}: 40 images on tier resident: " in caplog.text
    losses = [
        next(iter(folder.metrics()))["train"]["loss"] for folder in (runtime.folder_of(config), finished_run.folder)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)


def test_a_finished_run_scores_the_same_from_each_tier(
    finished_run: FinishedRun, beton: Path, tmp_path: Path
) -> None:
    raw, resident = (
        evaluate_run(finished_run.folder, "test", tiny_runtime(beton, tmp_path, tier=tier))
        for tier in ("raw", "resident")
    )
    assert raw == resident


def test_a_tier_that_the_beton_cannot_serve_is_refused(beton: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tier jpeg: the beton holds raw pages"):
        train_run(tiny_config(), tiny_runtime(beton, tmp_path, tier="jpeg"))


@pytest.mark.parametrize("field", ["tier", "augment_on"])
def test_unknown_choices_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RuntimeConfig(**{field: "fast"})
