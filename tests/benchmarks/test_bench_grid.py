"""The grid benchmark at its smallest size: the folders, the recorded SLURM, the object and its ratios."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.grids import made_up
from benchmarks.grids.bench import BenchGrid, grid_ratios
from benchmarks.grids.fake_slurm import num_calls, write_commands
from benchmarks.grids.made_up import made_up_grid, write_run_folders
from datasets.errors import InputError
from launch.cli import main
from launch.grids.paper import paper_grid
from launch.plan.run_state import read_states


def test_a_made_up_grid_begins_as_the_papers_and_has_the_asked_size() -> None:
    paper = {run.run_id for run in paper_grid().runs}
    grid = made_up_grid(500)
    assert len(grid.runs) == 500
    assert len({run.run_id for run in grid.runs} & paper) == 320
    assert Counter(run.kind for run in grid.runs) == {"prerequisite": 3, "search": 128, "repetition": 369}


def test_the_folders_are_what_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "MOST_NAMES", 100)
    grid = made_up_grid(331)  # 131 prerequisites and searches, ten times the twenty parts
    write_run_folders(grid, tmp_path / "runs")
    found = read_states(grid.runs, tmp_path / "runs", {})
    states = Counter(state.state for state in found.values())
    assert {state: states[state] - (131 if state == "done" else 0) for state in states} == pytest.approx(
        {"done": 120, "absent": 50, "running": 10, "failed": 10, "partial": 10}, abs=10
    )
    folder = tmp_path / "runs" / grid.runs[0].run_id
    assert {path.name for path in folder.iterdir()} == {"config.json", "metrics.jsonl", "result.json", "status.json"}
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 128
    assert max(path.stat().st_nlink for path in (tmp_path / "runs").glob("metrics_*.jsonl")) <= 101


def test_the_recorded_slurm_gives_numbers_and_keeps_the_queue(tmp_path: Path) -> None:
    folder = write_commands(tmp_path)
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --array=0-2%8\n#SBATCH --job-name=some\n")

    def ask(*words: str) -> str:
        return subprocess.run([str(folder / words[0]), *words[1:]], capture_output=True, text=True, check=True).stdout

    assert ask("sbatch", str(script)) == "Submitted batch job 1\n"
    script.write_text("#!/bin/sh\n#SBATCH --job-name=lone\n")
    assert ask("sbatch", "--hold", str(script)) == "Submitted batch job 2\n"
    assert ask("scontrol", "show", "config") == "MaxArraySize = 1001\n"
    lines = [f"1_{task}|PENDING||Dependency|some" for task in range(3)] + ["2|PENDING||Dependency|lone"]
    assert ask("squeue", "--me").splitlines() == lines
    assert num_calls(folder) == {"sbatch": 2, "scontrol": 1, "squeue": 1}
    assert num_calls(write_commands(tmp_path)) == {}


def test_commands_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "plan", "submit", "status_queued"]
    with pytest.raises(SystemExit) as caught:
        main(["bench", "grid", "--sizes", "140", "--rounds", "1", "--json", str(tmp_path / "grid.json"), *only])
    assert caught.value.code == 0
    measured = json.loads((tmp_path / "grid.json").read_text())
    assert [row["command"] for row in measured["rows"]] == only[1:]
    assert all(row["runs"] == 140 and row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in measured["rows"])
    submit = next(row for row in measured["rows"] if row["command"] == "submit")
    assert submit["calls"]["sbatch"] <= 6
    assert {"commit", "cpu", "versions", "date", "note", "command"} <= set(measured["environment"])
    out = capsys.readouterr().out
    assert "\n\n## Grids of many runs\n\n" in out and "\n| plan | 140 | " in out


def row(command: str, runs: int, seconds: float) -> dict[str, Any]:
    return {"command": command, "runs": runs, "seconds": seconds, "spread": 0.0, "cpu_seconds": 1.0, "rounds": 1}


def test_ratios_are_of_plan_and_status_together() -> None:
    rows = [row("plan", 100, 1.0), row("status", 100, 2.0), row("plan", 1000, 6.0), row("status", 1000, 9.0)]
    assert grid_ratios(rows) == {
        "plan_and_status_100_s": 3.0,
        "plan_and_status_1000_s": 15.0,
        "seconds_per_run_1000_over_100": 0.5,
    }
    assert grid_ratios(rows[:1]) == {"plan_and_status_100_s": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "--rounds 0: must be above 0"),
        ({"sizes": (20,)}, "--sizes 20: expected at least 140"),
        ({"only": ("pan",)}, "--only pan: no such command; known: plan, status"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchGrid(**changes).run()
