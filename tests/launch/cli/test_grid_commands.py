"""``cxr grid plan``, ``submit`` and ``status`` as they are typed: JSON, tables, exit statuses, speed."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grid_stand_in import small_runs
from in_process_cli import rendered, run_cli, run_json

from datasets.errors import InputError
from datasets.files import write_json
from datasets.logging_setup import set_up_logging
from harness.config import DataConfig, RunConfig
from harness.runs.folder import RunFolder
from launch.cli.grid.submit import conclude, find_one
from launch.executors.base import Outcome
from launch.executors.prepare import TrainCommand
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid
from launch.plan.cost import estimate
from launch.plan.decide import decide
from launch.plan.run_state import RunState
from launch.plan.tables import plan_tables, status_tables

DEMO = load_grid("demo")
DATASETS = {run.config.data.dataset for run in DEMO.runs}


def finish(runs_dir: Path, name: str, **values: Any) -> Path:
    run = next(run for run in DEMO.runs if run.name == name)
    folder = RunFolder(runs_dir / run.run_id)
    write_json(folder.result_file, {"test": {"mean_auroc": 0.875}, "epochs": 6, "images_per_s": 250.0, **values})
    write_json(folder.status_file, {"state": "done", "epoch": 6, "epochs": 6, "images_per_s": 250.0})
    return folder.path


def finish_all(runs_dir: Path) -> None:
    for run in DEMO.runs:
        finish(runs_dir, run.name)


def test_plan_json_of_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "grid", "plan", "paper", "--runs-dir", str(tmp_path))
    assert document["grid"] == "paper"
    assert len(document["runs"]) == 320
    ids = {run["id"] for run in document["runs"]}
    assert all(set(run["needs"]) <= ids for run in document["runs"])
    last = document["runs"][-1]
    keys = ["id", "name", "kind", "needs", "cells", "printed", "config", "cost", "action", "reason"]
    assert list(last) == keys
    assert (last["name"], last["kind"]) == ("chestxray14_5.6k_imagenet_at-mimic_d40_r2", "repetition")
    assert last["cells"] == ["5"]
    assert last["printed"] == {"row": "R63", "auc": 75.79, "ci": 1.17}
    assert last["config"] == {
        "dataset": "chestxray14_5.6k",
        "subset": "full",
        "init": "imagenet",
        "method": "attention_transfer",
        "teacher": "mimic_cxr",
        "beta": "search",
        "network": "densenet40",
        "scope": "all",
        "epochs": 128,
        "seed": 2,
    }
    assert last["action"] == "wait"
    assert last["reason"].startswith("needs teacher_mimic_d121, search_chestxray14_5.6k_at-mimic_d40_beta1, ")
    assert last["reason"].endswith(" and 6 more")


def test_plan_knows_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(tmp_path, "pretrain_chestxray14_d121")
    document = run_json(capsys, "grid", "plan", "demo", "--runs-dir", str(tmp_path))
    actions = {run["name"]: (run["action"], run["reason"]) for run in document["runs"]}
    assert actions["pretrain_chestxray14_d121"] == ("skip", "done, test AUROC 0.8750")
    assert actions["chexpert_100_chestxray14_tl_d121_r0"] == ("run", "not started")
    assert actions["chexpert_100_chestxray14_at-mimic_d121_r0"] == ("wait", "needs teacher_mimic_d121")


def test_plan_blocks_on_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(tmp_path / "runs", "teacher_mimic_d121", content_hash="old")
    write_json(tmp_path / "mimic_cxr.beton.json", {"content_hash": "new", "splits": {}})
    folders = ("--runs-dir", str(tmp_path / "runs"), "--data-dir", str(tmp_path))
    document = run_json(capsys, "grid", "plan", "demo", *folders)
    actions = {run["name"]: run["action"] for run in document["runs"]}
    assert {name for name, action in actions.items() if action == "blocked"} == {
        "teacher_mimic_d121",
        *(name for name in actions if "at-mimic" in name),
    }
    status = run_json(capsys, "grid", "status", "demo", *folders)
    assert [run["state"] for run in status["runs"] if run["name"] == "teacher_mimic_d121"] == ["stale"]


def test_plan_of_a_part_brings_its_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "grid", "plan", "demo", "--runs-dir", str(tmp_path), "--only", "at-mimic_d40_r1")
    assert [run["name"] for run in document["runs"]] == [
        "teacher_mimic_d121",
        "pretrain_chestxray14_d40",
        "chexpert_100_chestxray14_at-mimic_d40_r1",
    ]


def test_status_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finish(tmp_path, "teacher_mimic_d121")
    first, second = run_json(capsys, "grid", "status", "demo", "--runs-dir", str(tmp_path))["runs"][:2]
    assert first == {
        "id": folder.name,
        "name": "teacher_mimic_d121",
        "kind": "prerequisite",
        "state": "done",
        "job": None,
        "device": None,
        "epoch": 6,
        "epochs": 6,
        "mean_auroc": 0.875,
        "images_per_s": 250.0,
        "eta_s": None,
        "restarts": 0,
        "preempted": 0,
        "timed_out": 0,
        "energy_kwh": None,
        "error": None,
    }
    assert (second["state"], second["epoch"]) == ("absent", None)


def test_tables_lose_no_column_at_80_columns() -> None:
    runs = load_grid("paper").runs
    error = "ValueError: a rather long reason that has to be folded, since it does not fit beside the rest"
    failed = RunState(state="failed", epoch=127, epochs=128, mean_auroc=0.81234, images_per_s=12345.6, error=error)
    found = {run.run_id: failed for run in runs}
    status = rendered(status_tables(runs, found, {}), 80)
    assert max(map(len, status.splitlines())) <= 80
    for cell in ("failed", "127/128", "0.8123", "12,346"):
        assert status.count(cell) >= len(runs)
    plan = rendered(plan_tables(decide(runs, {}), estimate(runs, {}, {})), 80)
    assert max(map(len, plan.splitlines())) <= 80
    assert plan.count("2a+3") == 24
    assert len(re.findall(r"^(run|wait) ", plan, flags=re.MULTILINE)) == 320


def test_human_plan_and_status_end_with_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(tmp_path, "teacher_mimic_d121")
    assert run_cli("grid", "plan", "demo", "--runs-dir", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "11 runs: 1 done, 2 can start now, 8 waiting"
    assert "chexpert_100_chestxray14_at-mimic_d121_r0" in shown
    assert run_cli("grid", "status", "demo", "--runs-dir", str(tmp_path)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"11 runs: 1 done, 10 absent; \S+ min of \S+ min of GPU time left", last)


GRID = """
name = "study"
defaults.data.dataset = "chestxray14"
[[runs]]
name = "teacher"
kind = "prerequisite"
network.name = "densenet40"
[[runs]]
name = "student"
objective = {method = "attention_transfer", teacher.run = "teacher"}
"""


def test_a_teacher_that_cannot_serve_is_refused_by_the_plan(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GRID)
    assert run_cli("grid", "plan", str(path)) == 2
    assert re.fullmatch(
        rf"error: {path}: runs\[2\] \(student\): objective.teacher: run chestxray14_full_imagenet_tl_d40_s0-\w+ "
        r"is a densenet40; a teacher must be a densenet121 or network of torchvision or timm\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "papre"], "did you mean paper?"),
        (["plan", "paper", "--only", "nothing"], "--only nothing: no run of grid paper"),
        (["status", "paper", "--network", "densenet12"], "no run of grid paper has this; did you mean densenet121?"),
        (["plan", "demo", "--images-per-s", "0"], "--images-per-s 0: expected a number above 0"),
        (["submit", "demo"], "lacks chestxray14.beton, chexpert.beton, mimic_cxr.beton; make them with cxr convert"),
        (["cancel", "demo", "--runs-dir", "none"], "--runs-dir none: no such folder"),
        (["submit", "demo", "--slots", "0"], "--slots 0: expected at least 1"),
        (["submit", "demo", "--threads-per-run", "0"], "--threads-per-run 0: expected at least 1"),
        (["submit", "demo", "--imagenet-weights", "none.pth"], "--imagenet-weights none.pth: no such file"),
    ],
)
def test_bad_input_exits_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--slots" in arguments:
        for dataset in DATASETS:
            (tmp_path / f"{dataset}.beton").touch()
    assert run_cli("grid", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("grid", "submit", "demo", "--runs-dir", str(tmp_path / "runs"), "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "3 can start now, 8 waiting" in shown
    assert "critical path: " in shown
    assert not (tmp_path / "runs").exists()


def test_submitting_a_finished_grid_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish_all(tmp_path)
    assert run_cli("grid", "submit", "demo", "--runs-dir", str(tmp_path)) == 0
    assert capsys.readouterr().err == "11 runs: 11 skipped\n"


def test_clean_frees_what_only_resuming_needs_of_done_runs(tmp_path: Path, capsys: Any) -> None:
    done, partial = DEMO.runs[0], DEMO.runs[1]
    finish(tmp_path, done.name)
    for run in (done, partial):
        for name in ("last", "last.old", "best"):
            (tmp_path / run.run_id / "checkpoint" / name).mkdir(parents=True)
            (tmp_path / run.run_id / "checkpoint" / name / "state.pt").write_bytes(bytes(1_000_000))
    assert run_cli("grid", "clean", "demo", "--runs-dir", str(tmp_path)) == 0
    assert capsys.readouterr().err == "2.0 MB freed\n"
    assert [path.name for path in (tmp_path / done.run_id / "checkpoint").iterdir()] == ["best"]
    assert len(list((tmp_path / partial.run_id / "checkpoint").iterdir())) == 3


def test_failures_are_listed_and_exit_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    runs = small_runs()
    outcomes = [
        Outcome(run=runs["pretrain"], state="failed", reason="ValueError: x"),
        Outcome(run=runs["teacher"], state="done"),
        Outcome(run=runs["a"], state="blocked", reason="needs pretrain, which failed"),
    ]
    set_up_logging()
    with pytest.raises(SystemExit) as caught:
        conclude(outcomes)
    assert caught.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "3 runs: 1 done, 1 failed, 1 blocked",
        "  failed pretrain: ValueError: x",
        "  blocked a: needs pretrain, which failed",
    ]


def test_what_was_queued_is_listed_and_a_second_submission_says_that_it_did_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = small_runs()
    set_up_logging()
    conclude([Outcome(run=runs["a"], state="queued", reason="job 7_0, not started")])
    assert capsys.readouterr().err == "1 run: 1 queued\n  queued a: job 7_0, not started\n"
    conclude([Outcome(run=runs["a"], state="waiting", reason="queued as job 7_0 (Priority)")])
    assert capsys.readouterr().err == "1 run: 1 already queued or running\n"
    conclude([Outcome(run=runs["a"], state="queued", reason="x")] * 22)
    assert capsys.readouterr().err.splitlines()[-1] == "  and 2 more; see cxr grid status"


def test_the_command_of_a_run_works_by_hand() -> None:
    command = TrainCommand(
        runs_dir=Path("runs/demo"),
        data_dir=Path("data"),
        precision="bf16",
        device="cpu",
        num_threads=2,
        imagenet_weights=Path("w.pth"),
    )
    run = DEMO.runs[0]
    assert command(run) == [
        *(sys.executable, "-m", "launch.cli", "train", f"runs/demo/{run.run_id}/config.json"),
        *("--runs-dir", "runs/demo", "--data-dir", "data", "--precision", "bf16", "--device", "cpu"),
        *("--num-threads", "2", "--num-workers", "2", "--imagenet-weights", "w.pth"),
    ]


@pytest.mark.parametrize("command", ["plan", "status"])
def test_looking_at_the_papers_grid_is_fast_and_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = (
        "import sys; from launch.cli import main\n"
        f"try: main(['grid', '{command}', 'paper', '--json'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'ffcv', 'numba', 'matplotlib', 'submitit'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0
    assert done.stderr.strip() == "[]"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["result.json", "status.json", "attempts.json", "provenance.json"])
def test_a_fifo_in_a_run_folder_flags_that_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    finish_all(tmp_path)
    first = DEMO.runs[0]
    folder = RunFolder(tmp_path / first.run_id)
    folder.result_file.unlink()
    (folder.path / name).unlink(missing_ok=True)
    os.mkfifo(folder.path / name)
    document = run_json(capsys, "grid", "status", "demo", "--runs-dir", str(tmp_path))
    states = {run["name"]: run["state"] for run in document["runs"]}
    assert states.pop(first.name) == "damaged"
    assert set(states.values()) == {"done"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("small_1k", "several have this in their name: small_1k_r0, small_1k_r1"),
        ("small_1k_r2", "no run of the grid has this in its name; did you mean small_1k_r"),
        ("x", "no run of the grid has this in its name; see cxr grid plan"),
    ],
)
def test_a_name_that_is_not_one_run_is_refused(name: str, told: str) -> None:
    data = DataConfig(dataset="chexpert", subset="1k")
    runs = [
        GridRun(name=f"small_1k_r{seed}", kind="repetition", config=RunConfig(data=data, seed=seed))
        for seed in range(2)
    ]
    assert find_one(runs, "small_1k_r1") is find_one(runs, runs[1].run_id) is runs[1]
    with pytest.raises(InputError, match=f"^run '{name}': {told}"):
        find_one(runs, name)
