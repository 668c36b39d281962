"""The demo's grid: the paper's design in small."""

from __future__ import annotations

from collections import Counter

from harness.config import AttentionTransfer, TransferLearning
from launch.grids.registry import load_grid

GRID = load_grid("demo")
BY_NAME = {run.name: run for run in GRID.runs}
STUDENTS = [run for run in GRID.runs if run.kind == "repetition"]


def test_the_runs() -> None:
    assert [run.name for run in GRID.runs] == [
        "teacher_mimic_d121",
        "pretrain_chestxray14_d121",
        "pretrain_chestxray14_d40",
        "chexpert_100_chestxray14_tl_d121_r0",
        "chexpert_100_chestxray14_tl_d121_r1",
        "chexpert_100_chestxray14_tl_d40_r0",
        "chexpert_100_chestxray14_tl_d40_r1",
        "chexpert_100_chestxray14_at-mimic_d121_r0",
        "chexpert_100_chestxray14_at-mimic_d121_r1",
        "chexpert_100_chestxray14_at-mimic_d40_r0",
        "chexpert_100_chestxray14_at-mimic_d40_r1",
    ]
    assert Counter(run.kind for run in GRID.runs) == {"prerequisite": 3, "repetition": 8}


def test_nothing_needs_a_download() -> None:
    for run in GRID.runs:
        assert run.config.init.kind == ("none" if run.kind == "prerequisite" else "run")


def test_students_start_from_their_network_and_imitate_the_mimic_teacher() -> None:
    for run in STUDENTS:
        short = "d121" if run.config.network.name == "densenet121" else "d40"
        needs = [BY_NAME[f"pretrain_chestxray14_{short}"].run_id]
        if isinstance(run.config.objective, AttentionTransfer):
            needs.append(BY_NAME["teacher_mimic_d121"].run_id)
        assert run.needs == tuple(needs)
        assert run.cells == ("demo",)
        assert (run.config.data.dataset, run.config.data.subset) == ("chexpert", "100")


def test_all_runs_share_the_image_size_and_differ_in_their_seed_alone() -> None:
    assert {run.config.data.image_size for run in GRID.runs} == {64}
    assert {run.config.data.flip_probability for run in GRID.runs} == {0.0}
    for method in (TransferLearning, AttentionTransfer):
        for network in ("densenet121", "densenet40"):
            same = [
                r for r in STUDENTS if isinstance(r.config.objective, method) and r.config.network.name == network
            ]
            assert [run.config.seed for run in same] == [0, 1]
