"""Tables on a narrow terminal: no word is cut, and no two rows look alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from in_process_cli import run_cli
from rich.table import Table
from tiny_runs import LABELS, write_tiny_beton

from launch.grids.registry import load_grid
from launch.terminal import needed_width, print_whole


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What a command prints at 40 columns; one longer line may be a name that has no place to break."""
    monkeypatch.setenv("COLUMNS", "40")
    capsys.readouterr()
    assert run_cli(*command) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    return text


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_grids_runs_keep_their_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, "grid", command, "demo", "--runs-dir", str(tmp_path))
    for run in load_grid("demo").runs:
        assert re.search(rf"\b{run.kind}\s+{run.name},", text)


def test_labels_and_counts_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, "inspect", str(write_tiny_beton(tmp_path)))
    assert [label for label in LABELS if not re.search(rf"^{label}, train \d+, validation", text, re.MULTILINE)] == []
    words = shown(monkeypatch, capsys, "models").split()
    assert [number for number in ("6,968,206", "2,700,814", "1,364,142") if number not in words] == []


def test_a_table_that_fits_stays_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("label", "AUROC")
    table.add_row("Pneumothorax", "0.5")
    assert needed_width(table) == len("┃ Pneumothorax ┃ AUROC ┃")
    monkeypatch.setenv("COLUMNS", "24")
    print_whole(table)
    assert capsys.readouterr().out.splitlines()[1] == "┃ label        ┃ AUROC ┃"
    monkeypatch.setenv("COLUMNS", "23")
    print_whole(table)
    assert capsys.readouterr().out == "label Pneumothorax,\n  AUROC 0.5\n"
