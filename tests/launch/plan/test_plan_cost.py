"""What ``cxr grid plan`` says about cost: images, GPU-hours, the critical path, of a part and of a huge grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from grid_stand_in import small_runs
from in_process_cli import run_cli, run_json

from launch.plan.cost import estimate
from launch.plan.decide import Decision
from launch.plan.tables import count_of, hours_of, print_plan


def test_plan_of_a_part_says_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 1k with ImageNet weights: 128 epochs of 1,000 training and 22,101 validation images."""
    wishes = ["--size", "1k", "--method", "tl", "--network", "densenet121", "--name", "*imagenet_tl_d121_r?"]
    options = ["paper", "--runs-dir", str(tmp_path), *wishes, "--images-per-s", "100"]
    document = run_json(capsys, "grid", "plan", *options)
    assert [run["name"] for run in document["runs"]] == [f"chexpert_1k_imagenet_tl_d121_r{seed}" for seed in range(3)]
    hours = 128 * (1000 * 3 + 22_101) / 300 / 3600
    one = {"train_images": 128_000, "teacher_images": 0, "validation_images": 128 * 22_101}
    assert document["runs"][0]["cost"] == {**one, "gpu_hours": pytest.approx(hours), "gpu_hours_left": hours}
    assert document["cost"] == {
        "throughput": "100 images/s given",
        **{key: 3 * value for key, value in one.items()},
        "gpu_hours": pytest.approx(3 * hours),
        "gpu_hours_left": pytest.approx(3 * hours),
        "disk_gb": pytest.approx(3 * 4 * 6_968_206 / 1e9),
        "critical_path": {"hours": pytest.approx(hours), "runs": ["chexpert_1k_imagenet_tl_d121_r0"]},
    }
    assert run_cli("grid", "plan", *options) == 0
    assert capsys.readouterr().out.splitlines()[-6:] == [
        "disk: 0.084 GB once all is done, and up to 0.17 GB for each run until then",
        "images: 384.0 k trained on, 0 of them through a teacher too, 8.5 M validated on",
        "GPU time: 8.9 h, of which 8.9 h is left (throughput: 100 images/s given)",
        "critical path: 3.0 h: chexpert_1k_imagenet_tl_d121_r0",
        "smallest differences: not known without the betons of chexpert, whose test splits they rest on",
        "3 runs: 3 can start now",
    ]


def test_a_huge_plan_is_told_in_sums(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [replace(small_runs()["b"], name=f"r{number}") for number in range(1001)]
    print_plan([Decision(run=run, action="run", reason="") for run in runs], estimate(runs, {}, {}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("more than 1000 runs: choose a part with --name")
    assert lines[-1] == "1001 runs: 1001 can start now"
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (950, "950"), (12_800, "12.8 k"), (130_200_000, "130.2 M"), (1_274_000_000, "1.27 G")],
)
def test_counts_are_short(count: int, words: str) -> None:
    assert count_of(count) == words


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.0, "-"), (0.0051, "0.3 min"), (0.75, "45 min"), (1.25, "1.2 h"), (34.09, "34.1 h"), (1057.5, "1,058 h")],
)
def test_hours_have_the_digits_that_matter_and_are_minutes_below_one(hours: float, words: str) -> None:
    assert hours_of(hours) == words
