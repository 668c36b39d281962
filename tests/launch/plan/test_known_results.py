"""Results of done runs that are remembered between two looks at a grid."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from grid_stand_in import small_runs

from datasets.files import write_json
from harness.runs.folder import RunFolder
from launch.plan import known_results
from launch.plan.run_state import DatasetFacts, RunState, read_states

RUN = small_runs()["a"]
AN_HOUR_AGO = time.time() - 3600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(known_results, "LEAST_NEW", 1)
    folder = RunFolder(tmp_path / RUN.run_id)
    write_result(folder, 0.75, AN_HOUR_AGO)
    write_json(folder.status_file, {"state": "done", "epoch": 8, "epochs": 8})
    return folder


def write_result(folder: RunFolder, auroc: float, when: float) -> None:
    write_json(folder.result_file, {"content_hash": "old", "seconds": 60.5, "test": {"mean_auroc": auroc}})
    os.utime(folder.result_file, (when, when))


def state_of(folder: RunFolder, facts: dict[str, DatasetFacts] | None = None) -> RunState:
    return read_states([RUN], folder.path.parent, facts or {})[RUN.run_id]


def test_a_second_look_reads_no_file_of_a_done_run(folder: RunFolder) -> None:
    first = state_of(folder)
    assert first == RunState(state="done", epoch=8, epochs=8, mean_auroc=0.75, gpu_seconds=60.5, computed_from="old")
    folder.status_file.write_text("torn")
    assert state_of(folder) == first
    changed = {RUN.config.data.dataset: DatasetFacts(content_hash="new")}
    assert state_of(folder, changed).state == "stale"


def test_a_new_result_is_read(folder: RunFolder) -> None:
    state_of(folder)
    write_result(folder, 0.5, AN_HOUR_AGO + 1)
    assert state_of(folder).mean_auroc == 0.5
    folder.result_file.unlink()
    assert state_of(folder).state == "partial"


def test_a_result_of_a_moment_ago_is_not_remembered_yet(folder: RunFolder) -> None:
    write_result(folder, 0.5, time.time())
    state_of(folder)
    assert not (folder.path.parent / known_results.NAME).exists()


def test_few_results_are_not_written_down(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_results, "LEAST_NEW", 2)
    state_of(folder)
    assert not (folder.path.parent / known_results.NAME).exists()


@pytest.mark.parametrize("text", ["", "torn", "[]", "{}", '{"version": ["of other code"], "known": {}}'])
def test_what_cannot_be_used_is_written_anew(folder: RunFolder, text: str) -> None:
    file = folder.path.parent / known_results.NAME
    file.write_text(text)
    first = state_of(folder)
    assert first.mean_auroc == 0.75
    folder.status_file.write_text("torn")
    assert state_of(folder) == first


def test_a_damaged_line_costs_its_run_a_look_and_no_other(folder: RunFolder) -> None:
    first = state_of(folder)
    file = folder.path.parent / known_results.NAME
    head, line = file.read_text().splitlines()
    file.write_text(f"{head}\n{line[:-9]}\nother\n{line}\n"[: len(head) + len(line) - 8])
    folder.status_file.write_text("torn")
    assert state_of(folder).state == "damaged"
    file.write_text(f"{head}\nother\n{line}\n")
    assert state_of(folder) == first
