"""A run on two betons read as one has the bits of the run on their merged file, on any tier and after a stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
from stopped_runs import train_until
from tiny_runs import hash_of, mixed_config, tiny_runtime, without_times, write_tiny_beton

from datasets.beton.reader import Beton
from datasets.convert.merge import merge
from datasets.errors import InputError
from harness.evaluation.evaluate import evaluate_run
from harness.export.saved_model import open_model
from harness.runs.checkpoint import load_weights
from harness.training.run import train_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Betons of 40 and 30 images with two common labels, and their merged file."""
    folder = tmp_path_factory.mktemp("data")
    first = write_tiny_beton(folder, num_samples=40)
    second = write_tiny_beton(folder, num_samples=30, labels=("Gout", "Mass", "Effusion"), seed=1, dataset="clinic")
    merge([first, second], folder / "both.beton", name="both", subset_seed=0)
    return first


@pytest.mark.slow
def test_it_has_the_bits_of_a_run_on_the_merged_file(data: Path, tmp_path: Path) -> None:
    config, merged = mixed_config(), mixed_config(dataset="both")
    runtime = tiny_runtime(data, tmp_path / "whole", tier="resident")
    expected = train_run(merged, tiny_runtime(data, tmp_path / "whole", tier="raw"))
    result = train_run(config, runtime)
    ours, theirs = runtime.folder_of(config), runtime.folder_of(merged)
    assert result["weights_hash"] == expected["weights_hash"]
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert without_times(ours) == without_times(theirs)
    predictions = [pd.read_parquet(folder.predictions_file) for folder in (ours, theirs)]
    assert predictions[0].equals(predictions[1])
    assert result["test"] == expected["test"]
    assert train_run(config, runtime) == result  # done already

    stopped = tiny_runtime(data, tmp_path / "stopped", tier="raw")
    assert train_until(config, stopped, signal.SIGTERM, 2) == 143
    assert train_run(config, stopped)["weights_hash"] == result["weights_hash"]
    assert without_times(stopped.folder_of(config)) == without_times(ours)

    # Each dataset's own score is that of an evaluation on it, and what was read is recorded.
    scores = result["test_by_dataset"]
    assert {name: one["num_samples"] for name, one in scores.items()} == {"chestxray14": 8, "clinic": 6}
    alone = evaluate_run(ours, "test", runtime, dataset="clinic")
    assert scores["clinic"]["auroc"] == {"Nodule": None, **alone["auroc"]}
    assert "test_by_dataset" not in expected
    parts = {name: Beton.open(data.with_name(f"{name}.beton")).sidecar.content_hash for name in scores}
    assert ours.provenance()["parts"] == parts
    assert load_weights(ours.best_dir)[1]["dataset"] == "chestxray14+clinic"
    assert open_model(ours.path).beton == data.with_name("chestxray14+clinic.beton")


def test_a_mix_with_one_image_in_train_and_test_is_refused(data: Path, tmp_path: Path) -> None:
    """The other dataset has the same images, and one place earlier each."""
    for path in data.parent.glob("chestxray14.*"):
        (tmp_path / path.name).symlink_to(path)
    write_tiny_beton(tmp_path, num_samples=40, dataset="copy", splits_from=1)
    said = "both the training of chestxray14 and the validation or test of copy: .*; split all by one manifest"
    with pytest.raises(InputError, match=said):
        train_run(mixed_config(dataset="chestxray14+copy"), tiny_runtime(tmp_path / data.name, tmp_path / "runs"))
