"""docs/extending.md to the letter: packages with a dataset, a network, an objective, a grid, an executor and a table.

They are written to a folder with their entry points; commands then convert, train, plan, submit and report with them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PACKAGES = ("spine_reader", "tinyparts", "tinyqueue", "tinyreport")
FILES = re.compile(rf"```python\n# ((?:{'|'.join(PACKAGES)})/\w+\.py)\n(.*?)```", re.DOTALL)
ENTRY_POINTS = re.compile(r'^\[project\.entry-points\."([\w.]+)"\]\n(\w+) = "([\w.]+)"', re.MULTILINE)

GRID = """
from harness.config import DataConfig, NetworkConfig, RunConfig, Schedule, Weights
from launch.grids.grid import Grid, GridRun
from tinyparts.objective import MeanPlanes


def run(seed):
    config = RunConfig(
        data=DataConfig(dataset="spines", image_size=64),
        network=NetworkConfig(name="tinynet"),
        init=Weights(kind="none"),
        objective=MeanPlanes(teacher=Weights(kind="none")),
        schedule=Schedule(epochs=1, batch_size=8),
        seed=seed,
    )
    return GridRun(name=f"tiny_r{seed}", kind="repetition", config=config)


def grid():
    return Grid(name="tiny", runs=(run(0), run(1)))
"""
CONFIG = """
seed = 0
data = { dataset = "spines", image_size = 64 }
network = { name = "tinynet" }
init = { kind = "none" }
objective = { method = "mean_planes", teacher = { kind = "none" } }
schedule = { epochs = 1, batch_size = 8 }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the page's packages installed below it, a dataset, a config and a grid."""
    for name, code in FILES.findall(PAGE):
        file = tmp_path / "packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(code, encoding="utf-8")
    for number, (group, name, module) in enumerate(ENTRY_POINTS.findall(PAGE)):
        information = tmp_path / "packages" / f"package{number}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: package{number}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    lines = ["ImageID,PatientID,Scoliosis,Cardiomegaly"]
    for number in range(60):
        labels = generator.integers(0, 2, 2)
        pixels = generator.normal(60 + 90 * labels[0], 20, (64, 64)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        lines.append(f"{number}.png,{number},{labels[0]},{labels[1]}")
    (tmp_path / "images" / "spines.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "run.toml").write_text(CONFIG)
    (tmp_path / "tiny.py").write_text(GRID)
    return tmp_path


def cxr(place: Path, command: str) -> str:
    """Run one command there; what it prints."""
    path = os.pathsep.join([str(ROOT), str(place / "packages")])
    done = subprocess.run(
        [sys.executable, "-m", "launch.cli", *command.split()],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"cxr {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_names_every_registry() -> None:
    groups = {group for group, _, _ in ENTRY_POINTS.findall(PAGE)}
    kinds = ("datasets", "networks", "objectives", "grids", "executors", "report_parts")
    assert groups == {f"cxr_harness.{kind}" for kind in kinds}
    assert {name.split("/")[0] for name, _ in FILES.findall(PAGE)} == set(PACKAGES)


@pytest.mark.slow
def test_what_the_page_adds_trains_plans_submits_and_reports(place: Path) -> None:
    cxr(place, "convert spines --root images --out data/spines.beton --size 64 --workers 1")
    options = "--data-dir data --runs-dir runs"
    planned = json.loads(cxr(place, f"grid plan tiny.py {options} --json"))
    assert [run["action"] for run in planned["runs"]] == ["run", "run"]
    cxr(place, f"train run.toml {options} --device cpu --num-threads 1")
    planned = json.loads(cxr(place, f"grid plan tiny.py {options} --json"))
    assert [run["action"] for run in planned["runs"]] == ["skip", "run"]
    cxr(place, f"grid submit tiny.py --executor background {options}")
    deadline = time.monotonic() + 120
    states: list[str] = []
    while states != ["done", "done"]:
        assert time.monotonic() < deadline and "failed" not in states, states
        time.sleep(0.5)
        states = [run["state"] for run in json.loads(cxr(place, f"grid status tiny.py {options} --json"))["runs"]]
    said = cxr(place, "report runs")
    page = (place / "runs" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Spines" in page and "TinyNet" in page and "Mean planes, random teacher" in page
    assert "## Best epochs" in said
    assert '<h3 id="best-epochs">Best epochs</h3>' in page
