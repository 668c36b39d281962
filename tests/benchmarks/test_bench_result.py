"""Times from images to a result: a watched folder, the parts of epochs, and what the page says of given figures."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_up_machine import MACHINE

from benchmarks.page.result import result_section
from benchmarks.page.write import write_results
from benchmarks.result.bench import BenchResult, reckoned_epoch
from benchmarks.result.watch import Watched, epoch_parts, watched
from datasets.errors import InputError
from harness.runs.folder import RunFolder

RUN = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir()
def write(name, text):
    (folder / "partial").write_text(text)
    (folder / "partial").rename(folder / name)
time.sleep(0.1)
write("steps.jsonl", "{}")
for epoch in (1, 2):
    time.sleep(0.1)
    write("metrics.jsonl", epoch * "{}\\n")
    time.sleep(0.1)
    write("status.json", json.dumps({"epoch": epoch}))
time.sleep(0.1)
"""


def test_a_run_s_folder_is_watched_while_it_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path / "run")]
    found = watched(command, RunFolder(tmp_path / "run"), tmp_path / "log")
    assert found.first_step_s is not None
    (first, second), (saved, last) = found.recorded_s, found.saved_s
    times = [0.0, found.first_step_s, first, saved, second, last]
    assert all(after - before > 0.08 for before, after in pairwise(times))


def test_a_training_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such beton')"]
    with pytest.raises(InputError, match="ended with 1: no such beton"):
        watched(command, RunFolder(tmp_path), tmp_path / "log")


def test_an_epoch_goes_from_checkpoint_to_checkpoint() -> None:
    """Of 10 s: 1 waiting, 5 of steps, 2 of validation, 1.5 of writing, and half a second of anything else."""
    records = [
        {"data_wait_s": 9.0, "compute_s": 9.0, "elapsed_s": 20.0},
        {"data_wait_s": 1.0, "compute_s": 5.0, "elapsed_s": 28.0},
    ]
    found = Watched(first_step_s=1.0, recorded_s=[21.0, 30.5], saved_s=[22.0, 32.0])
    parts = {"data_s": 1.0, "step_s": 5.0, "validation_s": 2.0, "checkpoint_s": 1.5}
    assert epoch_parts(records, found) == [{"seconds": 10.0, **parts, "other_s": 0.5}]


def test_an_epoch_of_another_loop_is_reckoned_from_its_rates() -> None:
    rates = {"seconds": 0.25, "data_wait_s": 0.125, "validation_s": 0.5}
    parts = {"data_s": 1.0, "step_s": 1.0, "validation_s": 2.0}
    assert reckoned_epoch(rates, train=8, validation=4) == {"seconds": 4.0, **parts}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 1}, "must be at least 2"),
        ({"size": 33}, "--size 33: must be a multiple of 32"),
        ({"rounds": 0}, "must be above 0"),
        ({"subsets": ("full",)}, "--subsets full: must be a number of images"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchResult(device="cpu", **changes).measure()


def test_the_page_shows_first_steps_and_the_parts_that_a_loop_has(tmp_path: Path) -> None:
    environment = {
        "kind": "result",
        "command": "cxr bench result",
        **MACHINE,
        "note": "How.",
        "made_up": True,
        "device": "cpu",
        "size": 64,
        "batch_size": 32,
        "validation": 1000,
    }
    start = {"loop": "ours", "title": "ours", "seconds": 3.25, "spread": 0.5, "rounds": 3, "values": [3.25]}
    parts = {"seconds": 10.0, "data_s": 1.0, "step_s": 5.0, "validation_s": 2.0, "checkpoint_s": 1.5, "other_s": 0.5}
    epochs = [
        {"subset": "1k", "images": 1000, "loop": "ours", "title": "ours", **parts},
        {"subset": "1k", "images": 1000, "loop": "careful", "title": "careful", **dict(list(parts.items())[:4])},
    ]
    measured = {"environment": environment, "first_step": [start], "epochs": epochs}
    text = write_results(measured, tmp_path).read_text()
    assert all(part in text for part in result_section(measured).split("\n\n"))
    assert "| ours | 3.25 | 0.50 | 3 |" in text
    assert "| 1,000 | ours | 10.00 | 1.00 | 5.00 | 2.00 | 1.50 | 0.50 |" in text
    assert "| 1,000 | careful | 10.00 | 1.00 | 5.00 | 2.00 |  |  |" in text
    assert "made-up radiographs of 64 x 64" in text and not (tmp_path / "result.png").exists()
