"""Two gloo processes on the CPU: nothing is predicted twice or lost, one writes, gradients are global means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process_cli import run_cli
from plain_network import one_epoch, plain_components
from tiny_runs import FinishedRun, all_options, mixed_config, tiny_config, tiny_runtime, write_tiny_beton

from datasets.beton.reader import Beton
from datasets.files import read_json
from harness.devices.accelerator import make_accelerator
from harness.evaluation.calibration import Calibration
from harness.evaluation.complete import complete_run
from harness.evaluation.evaluate import predict_split
from harness.evaluation.metrics import score
from harness.evaluation.predictions_file import read_predictions
from harness.networks import build_network
from harness.runs.checkpoint import load_weights
from harness.runs.folder import RunFolder

SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.fixture(scope="module")
def mix(tiny_beton: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The name of two betons that are read as one."""
    folder = write_tiny_beton(tmp_path_factory.mktemp("mix"), num_samples=20, seed=1, dataset="clinic").parent
    (folder / tiny_beton.name).symlink_to(tiny_beton)
    return folder / "chestxray14+clinic.beton"


@pytest.fixture(scope="module")
def outcome(tiny_beton: Path, mix: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = (SUPPORT / "two_processes.py", tiny_beton, mix, folder / "runs", folder / "out.json")
    command += map(str, arguments)
    paths = os.pathsep.join([str(SUPPORT.parent.parent), str(SUPPORT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder / "runs", json.loads((folder / "out.json").read_text())


@pytest.mark.slow
def test_unequal_shares_are_gathered_exactly(outcome: tuple[Path, dict[str, Any]]) -> None:
    assert outcome[1]["gathered"] == [[[0, 1], [2, 3], [4, 5]], [[0.0], [10.0], [11.0]]]


@pytest.mark.slow
def test_the_mean_gradient_is_that_of_the_whole_batch(outcome: tuple[Path, dict[str, Any]]) -> None:
    shared, whole = outcome[1]["gradients"]
    assert shared == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_synchronised_batch_norm_is_that_of_the_whole_batch(outcome: tuple[Path, dict[str, Any]]) -> None:
    shared, whole = outcome[1]["norms"]
    for name, value in whole.items():
        assert shared[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_a_run_over_two_processes_is_one_run(
    outcome: tuple[Path, dict[str, Any]], tiny_beton: Path, finished_run: FinishedRun
) -> None:
    runs_dir, found = outcome
    config = tiny_config(epochs=1)
    folder = tiny_runtime(tiny_beton, runs_dir).folder_of(config)
    assert read_json(folder.result_file) == found["result"]
    assert found["result"]["world_size"] == 2
    assert len(read_json(folder.provenance_file)["devices"]) == 2
    predictions = pd.read_parquet(folder.predictions_file)
    assert predictions["index"].tolist() == Beton.open(tiny_beton).indices("test").tolist()
    (line,) = folder.metrics()
    assert line["step"] == 3
    # Batch norm sees half of each batch, so the losses are near those of one process and not equal to them.
    alone = next(finished_run.folder.metrics())
    assert line["train"]["loss"] == pytest.approx(alone["train"]["loss"], abs=0.05)


@pytest.mark.slow
def test_a_run_over_two_processes_is_verified_by_one_and_its_steps_by_two(
    outcome: tuple[Path, dict[str, Any]], tiny_beton: Path
) -> None:
    """Predictions are made share by share; the training, which one process cannot repeat, by two."""
    folder = tiny_runtime(tiny_beton, outcome[0]).folder_of(tiny_config(epochs=1))
    options = ("--device", "cpu", "--num-workers", "1", "--steps", "2")
    assert run_cli("verify", str(folder.path), "--data-dir", str(tiny_beton.parent), *options) == 0
    checks = read_json(folder.certificate_file)["checks"]
    outcomes = {check["name"]: check["outcome"] for check in checks}
    assert (outcomes["test predictions"], outcomes["training steps"]) == ("held", "held")
    what = next(check["what"] for check in checks if check["name"] == "test predictions")
    assert what == "the logits of 18 images are those of the weights, bit for bit"


@pytest.mark.slow
def test_buffers_are_shared_before_they_are_used_and_not_at_every_step(outcome: tuple[Path, dict[str, Any]]) -> None:
    assert outcome[1]["ddp"] == [False, True]
    assert outcome[1]["statistics"] == [[1.0, 1.0]] * 3


@pytest.mark.slow
def test_validation_over_two_processes_scores_the_weights_and_statistics_that_are_saved(
    outcome: tuple[Path, dict[str, Any]], tiny_beton: Path
) -> None:
    config, runtime = tiny_config(epochs=1), tiny_runtime(tiny_beton, outcome[0])
    folder, beton = runtime.folder_of(config), Beton.open(tiny_beton)
    network = build_network(config.network, len(beton.labels))
    network.load_state_dict(load_weights(folder.best_dir)[0])
    found = predict_split(make_accelerator(runtime), network, beton, "validation", runtime)
    (line,) = folder.metrics()
    expected = score(found.logits, found.targets, beton.labels)
    assert line["validation"]["cross_entropy"] == pytest.approx(expected.cross_entropy, rel=1e-5)


@pytest.mark.slow
def test_two_processes_leave_the_files_that_one_process_would(
    outcome: tuple[Path, dict[str, Any]], tiny_beton: Path, tmp_path: Path
) -> None:
    """To the bit where two processes make them anew, and to the order of sums where one does."""
    again = RunFolder(outcome[0].parent / "completed")
    assert outcome[1]["completed"] == ["predictions.parquet", "validation.parquet", "calibration.json"]
    config, runtime = tiny_config(epochs=1), tiny_runtime(tiny_beton, outcome[0])
    two = runtime.folder_of(config)
    one = RunFolder(Path(shutil.copytree(two.path, tmp_path / "one")))
    for name in outcome[1]["completed"]:
        assert (again.path / name).read_bytes() == (two.path / name).read_bytes()
    for path in (lacking := [one.predictions_file, one.validation_file, one.calibration_file]):
        path.unlink()
    assert complete_run(one, runtime) == lacking
    for ours, theirs in ((two.validation_file, one.validation_file), (two.predictions_file, one.predictions_file)):
        pd.testing.assert_frame_equal(read_predictions(ours), read_predictions(theirs), rtol=1e-4, atol=1e-5)
    temperatures = [
        [label.temperature for label in found.labels.values()]
        for folder in (two, one)
        if (found := Calibration.read(folder.calibration_file)) is not None
    ]
    assert temperatures[0] == pytest.approx(temperatures[1], rel=1e-3)


@pytest.mark.slow
def test_two_processes_with_one_gpu_are_told_so(outcome: tuple[Path, dict[str, Any]]) -> None:
    one, other = outcome[1]["shared_gpus"]
    assert "2 processes, but 1 GPUs: two processes have the same one" in one and other == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "options", "mix"])
def test_without_batch_norm_two_processes_compute_what_one_does(
    outcome: tuple[Path, dict[str, Any]], tiny_beton: Path, mix: Path, tmp_path: Path, kind: str
) -> None:
    """Equal up to the order in which float32 numbers are added; also with every option of training, and of a mix."""
    two = outcome[1][kind]
    beton = mix if kind == "mix" else tiny_beton
    config = {"plain": tiny_config(), "options": all_options(tiny_config()), "mix": mixed_config()}[kind]
    one = one_epoch(plain_components(make_accelerator(tiny_runtime(beton, tmp_path)), beton, config))
    assert two["indices"] == one["indices"]
    # Sums over images of the means over known labels, which the processes may know different numbers of.
    assert two["sums"] == pytest.approx(one["sums"], rel=0.02 if kind == "options" else 1e-6)
    for name, value in one["weights"].items():
        assert two["weights"][name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
def test_gradients_in_one_buffer_become_means_where_there_are_any(outcome: tuple[Path, dict[str, Any]]) -> None:
    """Each process gets the same, in the strides of its parameter; what has no gradient is left without."""
    found = outcome[1]["averages"]
    assert found["found"] == [pytest.approx(found["mean"], rel=1e-6)] * 2 and found["found"][0] == found["found"][1]
    assert found["strides"][0] == found["strides"][1] == [27, 1, 9, 3]
    assert found["none"] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "options"])
def test_one_all_reduce_gives_what_the_wrapper_gives(outcome: tuple[Path, dict[str, Any]], kind: str) -> None:
    """With a ragged last batch, accumulated steps and averaged weights; and the same bits in both processes."""
    wrapped, flat, both = outcome[1]["epochs"][kind]
    assert flat["indices"] == wrapped["indices"] and flat["sums"] == pytest.approx(wrapped["sums"], rel=1e-6)
    for name, value in wrapped["weights"].items():
        assert flat["weights"][name] == pytest.approx(value, abs=1e-6), name
    assert both[0] == both[1]


@pytest.mark.slow
def test_recorded_steps_of_two_processes_are_those_one_by_one(outcome: tuple[Path, dict[str, Any]]) -> None:
    """16, 16 and 15 images: the first process has eight of each, and yet a recording for each kind of batch."""
    one_by_one, replayed, recordings = outcome[1]["recorded"]
    assert replayed == one_by_one
    assert recordings == 2


@pytest.mark.slow
def test_without_the_wrapper_a_run_goes_on_exactly(outcome: tuple[Path, dict[str, Any]]) -> None:
    whole, parts = outcome[1]["resumed"]
    assert whole == parts
