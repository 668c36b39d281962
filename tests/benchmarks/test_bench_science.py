"""The science checks on made-up results: which runs there are, and what is made of their scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page.write import write_page
from benchmarks.science.data import SIZE, pattern
from benchmarks.science.page import write_results
from benchmarks.science.runs import EPOCHS, SEEDS, grid, students, swept
from benchmarks.science.scores import collect, differences
from datasets.errors import InputError
from datasets.files import read_json, write_json
from harness.config import RunConfig
from harness.runs.runtime import RuntimeConfig

ENVIRONMENT = {
    "command": "python -m benchmarks.science",
    "commit": "abc",
    "date": "2000-01-01",
    "cpu": "x",
    "threads": 1,
    "cores": 2,
    "memory_gb": 8.0,
    "gpu": None,
    "versions": {"torch": "2.14"},
}
GAIN = {"transfer_learning": 0.0, "in_domain": 0.03, "unrelated": 0.0}


def finish(runs_dir: Path, config: RunConfig, score: float) -> None:
    folder = runs_dir / config.run_id
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "test": {"mean_auroc": score},
        "validation": {"mean_auroc": score},
        "beta": None,
        "attention_weight": 0.5,
    }
    write_json(folder / "result.json", found)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """All students and searches; the in-domain teacher gives 2, 3 and 4 points by seed, the other -1, 0 and 1."""
    for (method, _, seed), config in students().items():
        chance = 0.0 if method == "transfer_learning" else 0.01 * (seed - 1)
        finish(tmp_path, config, 0.7 + GAIN[method] + chance)
    for config in swept().values():
        finish(tmp_path, config, 0.6)
    return tmp_path


def test_the_grid_holds_every_student_once_and_its_needs_first() -> None:
    runs = grid().runs
    assert sum(run.kind == "repetition" for run in runs) == 3 * len(EPOCHS) * len(SEEDS) == 27
    done: set[str] = set()
    for run in runs:
        assert set(run.needs) <= done
        done.add(run.run_id)


def test_differences_are_paired_by_seed_with_students_interval(runs_dir: Path) -> None:
    found = collect(runs_dir)
    assert found.complete
    rows = {(row["method"], row["train_images"]): row for row in differences(found)}
    assert len(rows) == 6
    assert rows["in_domain", 100]["by_seed"] == pytest.approx([2.0, 3.0, 4.0])
    assert rows["in_domain", 100]["mean"] == pytest.approx(3.0)
    assert rows["in_domain", 100]["t_half"] == pytest.approx(4.303 / 3**0.5, abs=1e-3)


def test_the_page_says_whether_the_seeds_show_a_difference(runs_dir: Path, tmp_path: Path) -> None:
    write_results(collect(runs_dir), ENVIRONMENT, tmp_path / "out")
    page = write_page(tmp_path / "out").read_text()
    assert "- attention transfer, in-domain teacher, 300 images: +3.00 points ± 2.48: better" in page
    assert "- attention transfer, unrelated teacher, 300 images: +0.00 points ± 2.48: no difference" in page
    assert "| 1,000 | 70.00 ± 0.00 | 73.00 ± 1.13 | 70.00 ± 1.13 |" in page
    for name in ("science-sizes.png", "science-beta.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert len(read_json(tmp_path / "out" / "science.json")["students"]) == 27


def test_without_a_finished_student_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no student is done yet"):
        collect(tmp_path)


def test_a_pattern_holds_the_gratings_of_its_labels() -> None:
    """The second grating's spectrum has its peak where the label says, and noise alone has none there."""
    present = np.zeros(14, dtype=np.uint8)
    present[8] = 1  # orientation 180/7 degrees, wavelength 11 pixels
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    wave = np.exp(-2j * np.pi * (x * np.cos(np.pi / 7) + y * np.sin(np.pi / 7)) / 11.0)
    strength = [
        abs((pattern(labels, np.random.default_rng(0)) * wave).mean()) for labels in (present, np.zeros_like(present))
    ]
    assert strength[0] > 6.0 > 2.0 > strength[1]


def test_halving_is_replayed_from_the_curves_of_the_full_search(tmp_path: Path) -> None:
    """Rungs of 8, 4, 2 and 1 points end after epochs 1, 2, 4 and 8; the best at the end is too slow for it."""
    from benchmarks.science import halving  # and with it torch

    search = halving.search_of(0)
    assert [tuple(rung) for rung in search.rungs] == [(8, 1), (4, 2), (2, 4), (1, 8)]
    runtime = RuntimeConfig(runs_dir=tmp_path)
    slow, steady = search.points[2], search.points[5]
    for place, (beta, run) in enumerate(zip(search.points, search.full.runs, strict=True)):
        scores = [0.6 - place / 100] * 8
        if beta == slow:
            scores[1:] = [0.5, *[0.9] * 6]
        if beta == steady:
            scores = [0.7, 0.7, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
        lines = [
            json.dumps({"epoch": epoch, "validation": {"mean_auroc": score}}) for epoch, score in enumerate(scores)
        ]
        folder = runtime.folder_of(run)
        folder.path.mkdir()
        folder.metrics_file.write_text("".join(f"{line}\n" for line in lines))
    assert halving.replayed(search, runtime) == steady
