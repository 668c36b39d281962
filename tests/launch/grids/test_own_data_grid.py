"""Two datasets of one's own by specs, networks of three kinds, a MIMIC-style teacher: a study all by TOML."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hospital import write_hospital
from in_process_cli import run_cli
from PIL import Image

CLINIC = """
name = "clinic"
title = "Clinique du Lac"
patient = "Patient"

[[tables]]
file = "examens.parquet"

[image]
file = "images/{Cliché}.png"

[[labels]]
column = "Constat"
separator = ";"
names = { "Pleural Effusion" = "épanchement", Cardiomegaly = ["cardiomégalie", "gros coeur"] }
none = ["normal"]
"""
GRID = """
[defaults]
data.image_size = 64
init.kind = "none"
schedule = { epochs = 1, batch_size = 16, select_by = "loss" }

[[runs]]
name = "teacher"
kind = "prerequisite"
data = { dataset = "mimic_cxr", subset = "16" }
network.name = "densenet121"

[[runs]]
name = "{dataset}_{network}"
data.dataset = "hospital"
network.name = ["densenet40", "torchvision/resnet18"]
objective = { method = "attention_transfer", form = "original_at", teacher.run = "teacher" }

[[runs]]
name = "{dataset}_{network}"
data.dataset = "clinic"
network.name = "timm/test_resnet"
objective = { method = "attention_transfer", form = "original_at", teacher.run = "teacher" }

[[runs]]
name = "{dataset}_{network}"
data.dataset = "hospital+clinic"
data.balance = "dataset"
network.name = "densenet40"
"""


def write_clinic(root: Path) -> None:
    """One table in French with all findings in one column; an effusion brightens the lower half."""
    rng = np.random.default_rng(3)
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(60):
        words = [word for word in ("épanchement", "gros coeur") if rng.random() < 0.5]
        pixels = rng.normal(90, 25, (64, 64))
        pixels[32:] += 90 * ("épanchement" in words)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "images" / f"c{number}.png")
        rows.append((f"c{number}", f"P{number // 2}", ";".join(words) or "normal"))
    pd.DataFrame(rows, columns=["Cliché", "Patient", "Constat"]).to_parquet(root / "examens.parquet")
    (root / "clinic.toml").write_text(CLINIC, encoding="utf-8")


@pytest.mark.timeout(600)
def test_a_grid_over_two_datasets_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write_hospital(tmp_path / "hospital", 124, 64)
    write_clinic(tmp_path / "clinic")
    assert (
        run_cli("phantom", str(tmp_path / "made"), "--patients", "25", "--size", "64", "--datasets", "mimic_cxr") == 0
    )
    small = ("--size", "64")
    root = str(tmp_path / "made" / "MIMIC-CXR-JPG")
    assert run_cli("convert", "mimic_cxr", "--root", root, "--out", str(data / "mimic_cxr.beton"), *small) == 0
    for name in ("hospital", "clinic"):
        spec = str(tmp_path / name / f"{name}.toml")
        assert run_cli("convert", "table", "--spec", spec, "--out", str(data / f"{name}.beton"), *small) == 0
    grid, runs = tmp_path / "study.toml", tmp_path / "runs"
    grid.write_text(GRID)
    where = ("--data-dir", str(data), "--runs-dir", str(runs))
    capsys.readouterr()
    assert run_cli("grid", "plan", str(grid), *where, "--json") == 0
    planned = json.loads(capsys.readouterr().out)["runs"]
    students = ["hospital_densenet40", "hospital_torchvision-resnet18", "clinic_timm-test_resnet"]
    assert sorted(run["name"] for run in planned) == sorted(["teacher", *students, "hospital+clinic_densenet40"])
    assert run_cli("grid", "submit", str(grid), *where, "--slots", "2", "--precision", "fp32") == 0
    assert run_cli("report", str(runs), "--out", str(tmp_path / "report"), "--resamples", "0") == 0
    tables = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    titles = ("Hospital of Nowhere", "Clinique du Lac", "Hospital of Nowhere + Clinique du Lac")
    for word in (*titles, "torchvision/resnet18", "timm/test_resnet", "DenseNet-40"):
        assert word in tables
    (mixed,) = runs.glob("hospital+clinic_*/result.json")
    assert set(json.loads(mixed.read_text())["test_by_dataset"]) == {"hospital", "clinic"}
    capsys.readouterr()
    folder = next(runs.glob("clinic_*test_resnet*"))
    images = [str(path) for path in sorted((tmp_path / "clinic" / "images").iterdir())[:2]]
    assert run_cli("predict", str(folder), *images, "--json", "--device", "cpu", "--workers", "1") == 0
    for row in json.loads(capsys.readouterr().out):
        assert 0.0 < row["Pleural Effusion"] < 1.0
        assert 0.0 < row["Cardiomegaly"] < 1.0
