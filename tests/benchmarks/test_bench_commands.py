"""``cxr bench loader`` and ``cxr bench convert`` from end to end, on a few small pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.conversion.mimic_tables import measure_tables

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "pngs"
    (folder / "deeper").mkdir(parents=True)
    y, x = np.mgrid[0:96, 0:80]
    for number in range(5):
        picture = 128 + 90 * np.sin(x / (9 + number)) * np.cos(y / 11)
        place = folder / "deeper" if number == 4 else folder
        cv2.imwrite(str(place / f"{number}.png"), picture.astype(np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def cxr(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def checked(measured: dict[str, Any], names: set[str], rounds: int) -> dict[str, Any]:
    """The rows by name, after the checks that hold for every measurement."""
    assert set(measured) - {"mimic_tables"} == {"environment", "rows", "ratios"}
    assert {"cpu", "cores", "versions", "commit", "command", "date"} <= set(measured["environment"])
    rows = {row["name"]: row for row in measured["rows"]}
    assert set(rows) == names
    for row in rows.values():
        assert row["absent"] is None, row
        assert row["rounds"] == len(row["values"]) == rounds
        assert row["images_per_s"] == pytest.approx(np.median(row["values"]))
        assert row["spread"] >= 0 and row["output"]
    return rows


def test_bench_loader_measures_ours_and_a_peer_and_writes_what_was_asked_for(images: Path, tmp_path: Path) -> None:
    names = ["raw_float32", "jpeg_pages", "memcpy", "opencv_batches_float32"]
    done = cxr(
        *("bench", "loader", "--images", images, "--json", tmp_path / "l.json", "--out", tmp_path / "out"),
        *("--samples", 80, "--size", 32, "--batch-size", 4, "--seconds", 0.05, "--rounds", 2, "--only", *names),
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "l.json").read_text())
    rows = checked(measured, set(names), 2)
    ratio = rows["raw_float32"]["images_per_s"] / rows["opencv_batches_float32"]["images_per_s"]
    assert measured["ratios"]["float32_over_opencv"] == pytest.approx(ratio)
    assert measured["ratios"]["float32_over_dali_cpu"] is None
    assert measured["environment"]["radiographs"] == 5
    assert done.stdout.startswith("# ") and "\n\n## Loaders\n\n" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["RESULTS.md", "loader.json", "loader.png"]


def test_bench_convert_measures_chosen_contenders_by_core_and_by_workers(images: Path, tmp_path: Path) -> None:
    names = {"ours_png_one", "ours_reduced_all", "kornia_png_one"}
    done = cxr(
        *("bench", "convert", "--images", images, "--json", tmp_path / "c.json", "--only", *sorted(names)),
        *("--rounds", 1, "--png", 6, "--large", 2, "--size", 32),
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "c.json").read_text())
    rows = checked(measured, names, 1)
    assert {row["output"].rpartition(", ")[2] for row in rows.values()} == {"one core", "all workers"}
    ratio = rows["ours_png_one"]["images_per_s"] / rows["kornia_png_one"]["images_per_s"]
    assert measured["ratios"]["png_core_over_kornia"] == pytest.approx(ratio)
    assert "mimic_tables" not in measured and measured["ratios"]["png_over_pil"] is None


def test_opening_tables_is_measured_in_a_process_of_its_own() -> None:
    tables = measure_tables(500, 1)
    assert (tables["images"], len(tables["rounds"])) == (500, 1)
    assert 0 < tables["seconds"] < 60 and 1 << 20 < tables["peak_bytes"] < 4 << 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loader", "--only", "spddl"], "--only spddl: no such contender; known: raw_float32"),
        (["loader", "--rounds", "0"], "--rounds 0: must be above 0"),
        (["convert", "--png", "0"], "--png 0: must be above 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(arguments: list[str], said: str) -> None:
    done = cxr("bench", *arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_folder_without_png_is_refused(tmp_path: Path) -> None:
    done = cxr("bench", "convert", "--images", tmp_path)
    assert done.returncode == 2 and "no PNG file below it" in done.stderr
