"""``cxr grid status --page``: the report's page with where the runs stand at its head; what runs cost in money."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from in_process_cli import run_cli, run_json
from report_fixtures import write_run

from datasets.files import write_json
from launch.grids.registry import load_grid

DEMO = load_grid("demo")


def page_of(runs_dir: Path, out: Path, *options: str) -> str:
    assert run_cli("grid", "status", "demo", "--runs-dir", str(runs_dir), "--page", str(out), *options) == 0
    return (out / "index.html").read_text(encoding="utf-8")


def status_rows(page: str) -> dict[str, str]:
    """State by name of the run."""
    (body,) = re.findall(r'<h3 id="status">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    found = (re.findall(r"<td[^>]*>([^<]*)", row) for row in body.split("<tr>")[1:])
    return {cells[1]: cells[0] for cells in found}


def test_the_page_says_where_each_run_stands_before_and_after_there_are_runs(tmp_path: Path) -> None:
    page = page_of(tmp_path / "runs", tmp_path / "page")
    assert status_rows(page) == {run.name: "absent" for run in DEMO.runs}
    assert "Grid demo: 11 runs: 11 absent; " in page
    done, failed = DEMO.runs[0], DEMO.runs[3]
    write_run(tmp_path / "runs", done.config, 0.75)
    write_json(tmp_path / "runs" / failed.run_id / "status.json", {"state": "failed", "error": "no <disk>"})
    page = page_of(tmp_path / "runs", tmp_path / "page")
    states = status_rows(page)
    assert (states.pop(done.name), states.pop(failed.name), set(states.values())) == ("done", "failed", {"absent"})
    assert "no &lt;disk&gt;" in page
    assert page.index('id="status"') < page.index(f'id="run-{done.run_id}"')
    assert 'http-equiv="refresh"' not in page
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([done.run_id, failed.run_id])


def test_a_watch_writes_the_page_at_each_look_and_ends_with_one_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = tmp_path / "runs" / DEMO.runs[0].run_id / "status.json"
    write_json(running, {"state": "running", "epoch": 1, "epochs": 6, "updated": 4e9, "host": "elsewhere"})
    seen: list[str] = []

    def look_again(seconds: float) -> None:
        seen.append((tmp_path / "page" / "index.html").read_text(encoding="utf-8"))
        write_json(running, {"state": "failed", "error": "x", "epoch": 1, "epochs": 6})

    monkeypatch.setattr("launch.cli.grid.plan.time.sleep", look_again)
    page = page_of(tmp_path / "runs", tmp_path / "page", "--watch", "--interval-s", "7", "--only", DEMO.runs[0].name)
    assert [status_rows(text)[DEMO.runs[0].name] for text in (*seen, page)] == ["running", "failed"]
    refresh = '<meta http-equiv="refresh" content="7.0">'
    assert [refresh in text for text in (*seen, page)] == [True, False]


def test_a_folder_of_something_else_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text("mine")
    command = ("grid", "status", "demo", "--runs-dir", str(tmp_path / "runs"), "--page", str(tmp_path))
    assert run_cli(*command) == 2
    assert "index.html: not of a cxr report, so it is kept" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text() == "mine"


def test_what_is_left_costs_its_hours_times_the_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "status"):
        options = ("--runs-dir", str(tmp_path), "--only", "pretrain_chestxray14_d121", "--images-per-s", "100")
        assert run_cli("grid", command, "demo", *options, "--price-per-gpu-hour", "2.5") == 0
        hours = 2 * (90_265 * 3 + 11_031) / 300 / 3600  # forward passes at 300 a second
        shown = capsys.readouterr().out
        assert f"at 2.5 a GPU-hour {2.5 * hours:,.2f}, of which {2.5 * hours:,.2f} is left" in shown
        document = run_json(capsys, "grid", command, "demo", *options, "--price-per-gpu-hour", "2.5")
        money = {"price_per_gpu_hour": 2.5, "all": 2.5 * hours, "left": 2.5 * hours}
        assert document["money"] == pytest.approx(money)
        assert run_cli("grid", command, "demo", *options, "--price-per-gpu-hour", "-1") == 2
        assert "--price-per-gpu-hour -1: expected 0 or more" in capsys.readouterr().err
