"""A grid and an executor of another package, as docs/extending.md writes them, through ``cxr grid``."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grid_stand_in import __file__ as stand_in
from in_process_cli import run_cli, run_json
from scheduler_stand_in import install

from launch.executors.prepare import TrainCommand
from launch.executors.registry import EXECUTORS
from launch.grids.grid import GridRun
from launch.grids.registry import GRIDS, load_grid

EXTENDING = Path(__file__).parents[3] / "docs" / "extending.md"
PYTHON = re.compile(r"```python\n# (tinyqueue/\w+\.py)\n(.*?)```", re.DOTALL)
ENTRY_POINTS = re.compile(r'\[project\.entry-points\."(cxr_harness\.(?:grids|executors))"\]\n(tinyqueue) = "(.*)"')


@pytest.fixture(autouse=True)
def _tinyqueue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the document, installed: its files and its entry points are on the path."""
    (tmp_path / "tinyqueue").mkdir()
    (tmp_path / "tinyqueue" / "__init__.py").touch()
    text = EXTENDING.read_text(encoding="utf-8")
    for name, code in PYTHON.findall(text):
        (tmp_path / name).write_text(code, encoding="utf-8")
    information = tmp_path / "tinyqueue-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tinyqueue\nVersion: 1.0\n")
    points = ENTRY_POINTS.findall(text)
    assert len(points) == 2
    lines = "".join(f"[{group}]\n{name} = {module}\n" for group, name, module in points)
    (information / "entry_points.txt").write_text(lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (GRIDS, EXECUTORS):
        monkeypatch.setattr(registry, "_loaded", False)
    yield
    GRIDS.remove("two_sizes")
    EXECUTORS.remove("background")
    EXECUTORS.remove("site_pbs")
    for name in [name for name in sys.modules if name.split(".")[0] == "tinyqueue"]:
        del sys.modules[name]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options of a folder of runs, whose trainings are stand-ins that take as long as ``behaviour.txt`` says."""

    def command(self: TrainCommand, run: GridRun) -> list[str]:
        behaviour = (tmp_path / "behaviour.txt").read_text()
        return [sys.executable, "-I", "-S", stand_in, "train", str(self.runs_dir / run.run_id), behaviour]

    monkeypatch.setattr(TrainCommand, "__call__", command)
    (tmp_path / "behaviour.txt").write_text("ok")
    (tmp_path / "chestxray14.beton").touch()
    return ("--runs-dir", str(tmp_path / "runs"), "--data-dir", str(tmp_path))


def states(capsys: pytest.CaptureFixture[str], folders: tuple[str, ...]) -> dict[str, str]:
    document = run_json(capsys, "grid", "status", "two_sizes", *folders)
    return {run["name"]: run["state"] for run in document["runs"]}


def wait_for(capsys: pytest.CaptureFixture[str], folders: tuple[str, ...], name: str, state: str) -> None:
    deadline = time.monotonic() + 30
    while states(capsys, folders)[name] != state:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_its_grid_is_planned_with_printed_values(
    capsys: pytest.CaptureFixture[str], folders: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "chestxray14.beton").unlink()  # an empty file, of which a plan warns that it cannot be read
    document = run_json(capsys, "grid", "plan", "two_sizes", *folders)
    assert [run["action"] for run in document["runs"]] == ["run", "wait", "wait"]
    assert document["runs"][1]["printed"] == {"auc": 71.0, "ci": 1.5}
    assert run_cli("grid", "plan", "two_sizes", *folders) == 0
    assert capsys.readouterr().out.startswith("two_sizes: a pre-training and a student on two sizes\n")


def test_its_executor_submits_shows_states_and_logs_and_cancels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: tuple[str, ...]
) -> None:
    submit = ("grid", "submit", "two_sizes", "--executor", "background", *folders)
    assert run_cli(*submit, "--dry-run") == 0
    assert not (tmp_path / "runs").exists()
    capsys.readouterr()
    assert run_cli(*submit) == 1
    assert capsys.readouterr().err.splitlines()[0] == "3 runs: 1 queued, 2 blocked"
    wait_for(capsys, folders, "pretraining", "done")
    assert run_cli("grid", "logs", "two_sizes", "pretraining", *folders) == 0
    assert capsys.readouterr().out == f"training in {load_grid('two_sizes').runs[0].run_id}\n"
    (tmp_path / "behaviour.txt").write_text("ok:60")
    profile = tmp_path / "background.toml"
    profile.write_text("nice = 5\n")
    assert run_cli(*submit, "--cluster", str(profile)) == 0
    assert capsys.readouterr().err.splitlines()[0] == "3 runs: 1 skipped, 2 queued"
    wait_for(capsys, folders, "student_200_r0", "running")
    assert run_cli(*submit) == 0
    assert run_cli("grid", "cancel", "two_sizes", "--only", "student_200", *folders) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "1 job cancelled"
    wait_for(capsys, folders, "student_200_r0", "partial")
    assert states(capsys, folders)["student_1k_r0"] in ("queued", "running")
    assert run_cli("grid", "cancel", "two_sizes", *folders) == 0
    assert capsys.readouterr().err == "1 job cancelled\n"
    wait_for(capsys, folders, "student_1k_r0", "partial")


def test_its_scheduler_queues_runs_in_order_and_follows_and_cancels_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PBS by a package of its own: a class for a scheduler that is driven by commands."""
    queue, profile = install(tmp_path / "bin"), tmp_path / "site.toml"
    monkeypatch.setenv("PATH", f"{queue}:{os.environ['PATH']}")
    (queue / "hold").touch()
    profile.write_text('project = "lungs"\ngpus_per_run = 0\n')
    submit = ("grid", "submit", "two_sizes", "--executor", "site_pbs", "--cluster", str(profile), "--allow-dirty")
    for first_line in ("3 runs: 3 queued", "3 runs: 3 already queued or running"):
        assert run_cli(*submit, *folders) == 0
        assert capsys.readouterr().err.splitlines()[0] == first_line
    calls = [line for line in (queue / "calls.txt").read_text().splitlines() if line.startswith("qsub")]
    assert ["-W depend=afterok:1.pbs" in line for line in calls] == [False, True, True]
    assert all(" -P lungs -l walltime=86400 -l ncpus=4 " in line for line in calls)
    assert run_cli("grid", "cancel", "two_sizes", "--only", "student_1k", *folders) == 0
    assert capsys.readouterr().err == "1 job cancelled\n"
    (queue / "hold").unlink()
    wait_for(capsys, folders, "student_200_r0", "done")
    assert states(capsys, folders) == {"pretraining": "done", "student_200_r0": "done", "student_1k_r0": "cancelled"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--executor", "nowhere"),
            "--executor nowhere: unknown; known: local, slurm, pbs, lsf, htcondor, kubernetes, background, site_pbs",
        ),
        (
            ("--executor", "background", "--slots", "2"),
            "--slots, --runs-per-gpu, --mps, --threads-per-run",
        ),
        (("--executor", "slurm"), "--executor slurm needs --cluster PROFILE"),
        (("--executor", "local", "--cluster", "no.toml", "--dry-run"), "--cluster no.toml: no such file"),
    ],
)
def test_wrong_wishes_are_refused(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], folders: tuple[str, ...]
) -> None:
    assert run_cli("grid", "submit", "two_sizes", *options, *folders) == 2
    assert message in capsys.readouterr().err
