"""A run on several betons in plans, states and reports: sizes, contents and names of all its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from in_process_cli import run_cli, run_json
from report_fixtures import student, write_run
from tiny_runs import mixed_config, write_tiny_beton

from datasets.beton.mixed import open_beton
from launch.plan.run_state import dataset_facts
from launch.report.read.collect import collect
from launch.report.read.names import cell_label

GRID = """
[defaults]
data.image_size = 64
init.kind = "none"
network.name = "densenet40"

[[runs]]
name = "{dataset}_{size}"
data.dataset = "chestxray14+clinic"
data.subset = ["full", "7+full"]
schedule = { epochs = 2, validate_every = 2 }
"""


def test_a_grid_of_mixes_is_planned_from_its_betons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_beton(tmp_path, num_samples=20)
    (tmp_path / "mixes.toml").write_text(GRID)
    plan = ["grid", "plan", str(tmp_path / "mixes.toml"), "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path)]
    assert run_cli(*plan) == 2
    assert "data.dataset = 'clinic' is unknown: it is not registered" in capsys.readouterr().err
    write_tiny_beton(tmp_path, num_samples=10, dataset="clinic")
    capsys.readouterr()
    runs = run_json(capsys, *plan)["runs"]
    assert [run["name"] for run in runs] == ["chestxray14+clinic_full", "chestxray14+clinic_7+full"]
    assert [run["cost"]["train_images"] for run in runs] == [2 * (12 + 6), 2 * (7 + 6)]
    assert [run["cost"]["validation_images"] for run in runs] == [4 + 2] * 2
    facts = dataset_facts(tmp_path, ["chestxray14+clinic"])
    mix = open_beton(tmp_path / "chestxray14+clinic.beton")
    assert facts["chestxray14+clinic"].content_hash == mix.sidecar.content_hash
    path.unlink()
    assert run_cli("grid", "submit", *plan[2:]) == 2
    assert f"{tmp_path}: lacks chestxray14.beton" in capsys.readouterr().err


def test_a_plan_is_refused_for_groups_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mixes.toml").write_text(GRID.replace("clinic", "chexpert") + 'data.balance = "site"\n')
    options = [str(tmp_path / "mixes.toml"), "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path)]
    assert run_cli("grid", "plan", *options) == 0  # without the betons nothing is known
    write_tiny_beton(tmp_path, num_samples=20)
    write_tiny_beton(tmp_path, num_samples=10, dataset="chexpert", seed=1)
    capsys.readouterr()
    for command in ("plan", "submit"):
        assert run_cli("grid", command, *options) == 2
        said = (
            "chestxray14+chexpert.beton: data.balance = 'site' is no label and no attribute; known: labels, Effusion"
        )
        assert said in capsys.readouterr().err


def test_cells_of_mixes_have_the_titles_of_their_datasets(tmp_path: Path) -> None:
    config = student(dataset="chexpert+chestxray14", subset="1000+full")
    write_run(tmp_path, config, 0.8)
    (run,) = collect(tmp_path).runs
    label = cell_label(run.config)
    assert label.subset == "1k+full"
    assert label.group_text.startswith("CheXpert + ChestX-ray14, 1k+full training images")
    single = cell_label(replace(config, data=mixed_config(dataset="chexpert+chestxray14", subset="1k+5k").data))
    assert single.order < label.order
