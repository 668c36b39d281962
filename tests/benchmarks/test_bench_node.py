"""What several runs at once get done: counted over their common time, and measured on real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mps_stand_in import stand_in
from tiny_runs import write_tiny_beton

from benchmarks.node.bench import BenchNode, aggregate_rate, gains
from datasets.errors import InputError
from launch.executors.placement import visible_gpus


def test_images_count_by_the_part_of_an_epoch_in_which_all_runs_train() -> None:
    """From 20 s to 40 s: of the first run two epochs, of the second the last half of one and one and a half more."""
    first = [(10.0, 100.0), (20.0, 100.0), (30.0, 100.0), (40.0, 100.0)]
    second = [(20.0, 60.0), (25.0, 60.0), (35.0, 60.0), (45.0, 60.0)]
    assert aggregate_rate([first, second]) == pytest.approx((200 + 60 + 60 + 30) / 20)
    assert aggregate_rate([first]) == pytest.approx(10.0)
    with pytest.raises(InputError, match="never trained all at once; give more --epochs"):
        aggregate_rate([first, [(40.0, 1.0), (50.0, 1.0)]])


def test_gains_are_over_one_run() -> None:
    found = {(1, False): [10.0, 12.0, 11.0], (2, False): [22.0], (2, True): [33.0]}
    assert gains(found) == {"2_runs_over_1": 2.0, "2_runs_by_mps_over_1": 3.0}


def test_options_that_make_no_sense_are_refused() -> None:
    for changes in ({"runs": (0,)}, {"epochs": 1}, {"rounds": 0}):
        options: dict[str, Any] = changes
        with pytest.raises(InputError):
            BenchNode(device="cpu", **options).measure()


def test_on_a_gpu_every_number_above_one_is_measured_by_mps_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvidia-smi and the service's program stand in; no run is started."""
    stand_in(tmp_path, monkeypatch)
    asked: list[tuple[str, ...]] = []

    def call(*arguments: str, **environment: str) -> None:
        assert environment == {"CUDA_VISIBLE_DEVICES": visible_gpus({})[0]}
        asked.append(arguments[arguments.index("--runs-per-gpu") :])

    monkeypatch.setattr("benchmarks.node.bench.call", call)
    monkeypatch.setattr("benchmarks.node.bench.aggregate_rate", lambda runs: 5.0)
    found = BenchNode(runs=(1, 3), rounds=1, data_dir=tmp_path).measure()
    assert asked == [
        ("--runs-per-gpu", "1", "--device", "cuda"),
        ("--runs-per-gpu", "3", "--device", "cuda"),
        ("--runs-per-gpu", "3", "--mps", "--device", "cuda"),
    ]
    assert [(row["runs"], row["mps"], row["images_per_s"]) for row in found["rows"]] == [
        (1, False, 5.0),
        (3, False, 5.0),
        (3, True, 5.0),
    ]


@pytest.mark.slow
def test_runs_are_measured_as_a_user_starts_them(tmp_path: Path) -> None:
    """One at a time: whether two tiny ones overlap is up to the machine."""
    data_dir = write_tiny_beton(tmp_path / "data").parent
    options: dict[str, Any] = {"network": "densenet40", "subset": "40", "size": 64, "batch_size": 20, "epochs": 3}
    BenchNode(device="cpu", runs=(1,), rounds=1, data_dir=data_dir, json=tmp_path / "n.json", **options).run()
    measured = json.loads((tmp_path / "n.json").read_text())
    (row,) = measured["rows"]
    assert (row["runs"], row["mps"], row["rounds"]) == (1, False, 1) and row["images_per_s"] > 0
    assert measured["environment"]["device"] == "cpu"
