"""The states of run folders, from real files, real locks and real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from grid_stand_in import small_runs

from datasets.errors import InputError
from datasets.files import write_json
from harness.runs.folder import RunFolder
from harness.runs.lock import RunLock
from launch.plan.decide import decide
from launch.plan.run_state import DatasetFacts, RunState, dataset_facts, read_state, read_states

RUNS = small_runs()
RUN, OTHER = RUNS["a"], RUNS["teacher"]
NEW = DatasetFacts(content_hash="new", splits={"train": 500, "validation": 50})


def write_status(folder: RunFolder, **values: Any) -> None:
    status = {"state": "running", "epoch": 3, "epochs": 8, "updated": time.time(), "pid": os.getpid()}
    write_json(folder.status_file, {**status, "host": socket.gethostname(), "error": None, **values})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / RUNS["a"].run_id)


def state_of(folder: RunFolder, facts: dict[str, DatasetFacts] | None = None) -> RunState:
    return read_state(RUNS["a"], folder.path.parent, facts or {})


def test_an_absent_and_a_prepared_folder_are_absent(folder: RunFolder) -> None:
    assert state_of(folder) == RunState()
    write_json(folder.config_file, {})
    assert state_of(folder) == RunState()


def test_a_live_process_is_running(folder: RunFolder) -> None:
    write_status(folder, mean_auroc=0.7, images_per_s=99.0)
    assert state_of(folder) == RunState(state="running", epoch=3, epochs=8, mean_auroc=0.7, images_per_s=99.0)


def test_a_dead_process_leaves_a_partial_run(folder: RunFolder) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    write_status(folder, pid=process.pid)
    assert state_of(folder).state == "partial"
    write_status(folder, state="interrupted", error="interrupted")
    assert state_of(folder) == RunState(state="partial", epoch=3, epochs=8)


def test_a_held_lock_is_a_sign_of_life_before_the_first_status(folder: RunFolder) -> None:
    lock = RunLock.acquire(folder.path)
    assert lock is not None
    assert state_of(folder).state == "running"
    lock.release()
    assert state_of(folder).state == "absent"


def test_another_host_counts_by_its_last_sign_of_life(folder: RunFolder) -> None:
    write_status(folder, host="elsewhere", pid=1)
    assert (state_of(folder).state, state_of(folder).host) == ("running", "elsewhere")
    write_status(folder, host="elsewhere", pid=1, updated=time.time() - 86_400)
    assert state_of(folder).state == "partial"


def test_a_failed_run_says_why(folder: RunFolder) -> None:
    write_status(folder, state="failed", error="ValueError: x")
    assert (state_of(folder).state, state_of(folder).error) == ("failed", "ValueError: x")


def test_a_result_is_done_whatever_the_status_says(folder: RunFolder) -> None:
    write_status(folder, state="failed", error="late")
    write_json(folder.result_file, {"test": {"mean_auroc": 0.8}, "content_hash": "new", "epochs": 8})
    state = state_of(folder, {"chexpert": NEW})
    assert (state.state, state.mean_auroc, state.error) == ("done", 0.8, None)


def test_a_result_of_other_data_is_stale_and_says_what_to_do(folder: RunFolder) -> None:
    write_json(folder.result_file, {"test": {"mean_auroc": 0.8}, "content_hash": "old"})
    state = state_of(folder, {"chexpert": NEW})
    assert state.state == "stale"
    assert state.error == (
        f"computed from other data (old) than chexpert.beton now holds (new); "
        f"move {folder.path} away or use another --runs-dir"
    )
    assert state_of(folder, {"mimic_cxr": NEW}).state == "done"


def test_a_started_run_of_other_data_is_stale(folder: RunFolder) -> None:
    write_status(folder, state="interrupted")
    write_json(folder.provenance_file, {"content_hash": "new"})
    assert state_of(folder, {"chexpert": NEW}).state == "partial"
    write_json(folder.provenance_file, {"content_hash": "old"})
    assert state_of(folder, {"chexpert": NEW}).state == "stale"


def test_a_checkpoint_without_a_status_is_partial(folder: RunFolder) -> None:
    folder.last_dir.mkdir(parents=True)
    assert state_of(folder).state == "partial"


def test_a_broken_file_is_named(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.result_file.write_text("[]")
    assert "result.json: expected a JSON object, found list; remove this file, and " in str(state_of(folder).error)


@pytest.mark.parametrize("name", ["status.json", "result.json", "attempts.json", "provenance.json"])
@pytest.mark.parametrize("text", ["", '{"state": "run'])
def test_a_torn_file_flags_its_run_and_no_other(folder: RunFolder, name: str, text: str) -> None:
    write_status(folder, state="failed", error="x")
    (folder.path / name).write_text(text)
    states = read_states([RUN, OTHER], folder.path.parent, {})
    assert {run_id: state.state for run_id, state in states.items()} == {
        RUN.run_id: "damaged",
        OTHER.run_id: "absent",
    }
    assert str(states[RUN.run_id].error).startswith(f"{folder.path / name}: not a JSON file")
    decisions = {decision.run: (decision.action, decision.reason) for decision in decide([RUN, OTHER], states)}
    assert decisions == {RUN: ("blocked", states[RUN.run_id].error), OTHER: ("run", "not started")}
    (folder.path / name).unlink()
    assert state_of(folder).state != "damaged"


def test_the_devices_are_known(folder: RunFolder) -> None:
    write_status(folder)
    write_json(folder.provenance_file, {"devices": ["NVIDIA H100", "NVIDIA H100", "cpu, 1 threads"]})
    assert state_of(folder).device == "2 x NVIDIA H100, cpu, 1 threads"


def test_facts_come_from_the_sidecars_that_are_there(tmp_path: Path) -> None:
    sidecar = tmp_path / "chexpert.beton.json"
    sidecar.write_text(json.dumps({"content_hash": "new", "splits": {"train": 500, "validation": 50}}))
    assert dataset_facts(tmp_path, ["chexpert", "mimic_cxr"]) == {"chexpert": NEW}
    sidecar.write_text("{}")
    with pytest.raises(InputError, match="expected the key 'content_hash'"):
        dataset_facts(tmp_path, ["chexpert"])
