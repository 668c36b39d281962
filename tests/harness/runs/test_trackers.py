"""Trackers beside TensorBoard: wandb itself, offline; MLflow and trackio as stand-ins that note their calls."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from accelerate import PartialState
from tiny_runs import tiny_config, tiny_runtime

from datasets.errors import InputError
from datasets.files import read_json
from harness.runs.folder import RunFolder
from harness.runs.metrics_log import MetricsLog
from harness.runs.runtime import RuntimeConfig
from harness.runs.trackers import TrackerName
from harness.training.preflight import preflight


def restarted(folder: Path, name: TrackerName) -> None:
    """Epochs 0 and 1, then a second start at epoch 1, with epochs 1 and 2."""
    PartialState(cpu=True)
    for first in (0, 1):
        log = MetricsLog(RunFolder(folder), owner=True, first_epoch=first, trackers=(name,), run_id="run-abc")
        for epoch in (first, first + 1):
            record = {"epoch": epoch, "step": 3 * epoch + 3, "train": {"loss": 0.5 - 0.1 * epoch}, "validation": None}
            log.append(record)
        log.close()


def wandb_records(path: Path) -> Iterator[Any]:
    """Records of an offline run's file: LevelDB's log format, here of one block."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place = path.read_bytes(), 7
    while place < len(content):
        _, length, _ = struct.unpack_from("<IHB", content, place)
        record = Record()
        record.ParseFromString(content[place + 7 : place + 7 + length])
        place += 7 + length
        yield record


@pytest.mark.slow
def test_wandb_gets_the_curve_offline_and_a_restart_goes_on_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    restarted(tmp_path, "wandb")
    import wandb

    wandb.teardown()  # waits for its process, which writes
    curves, runs = [], set()
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        curve = []
        for record in wandb_records(path):
            if record.WhichOneof("record_type") == "run":
                runs.add((record.run.run_id, record.run.project))
            if record.WhichOneof("record_type") == "history":
                values = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                curve.append((values["_step"], values["epoch"], values["train/loss"]))
        curves.append(curve)
    assert curves == [[(3, 0, 0.5), (6, 1, 0.4)], [(6, 1, 0.4), (9, 2, pytest.approx(0.3))]]
    assert runs == {("run-abc", "cxr-harness")}


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_mlflow_goes_on_with_the_id_that_it_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    started, logged, ended = [], [], []

    def start_run(run_id: str | None, run_name: str, **_: Any) -> Any:
        started.append((run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="given-1"))

    stand_in(
        monkeypatch,
        "mlflow",
        search_experiments=lambda filter_string: [],
        create_experiment=lambda name, **_: name,
        start_run=start_run,
        log_metrics=lambda values, step: logged.append((step, values["train/loss"])),
        end_run=lambda: ended.append(True),
    )
    restarted(tmp_path, "mlflow")
    assert started == [(None, "run-abc"), ("given-1", "run-abc")]
    assert read_json(tmp_path / "trackers.json") == {"mlflow": "given-1"}
    assert logged == [(3, 0.5), (6, 0.4), (6, 0.4), (9, pytest.approx(0.3))]
    assert len(ended) == 2


def test_trackio_goes_on_with_the_run_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    started, steps = [], []

    def init(project: str, **options: Any) -> Any:
        started.append((project, options["name"], options["resume"]))
        return SimpleNamespace(log=lambda values, step, **_: steps.append(step), finish=lambda: None)

    stand_in(monkeypatch, "trackio", init=init)
    restarted(tmp_path, "trackio")
    assert started == [("cxr-harness", "run-abc", "allow")] * 2
    assert steps == [3, 6, 6, 9]


def test_a_tracker_that_is_not_installed_or_unknown_is_refused_in_one_line(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^trackers: trackio: its package is not installed; pip install trackio$"):
        preflight(tiny_config(), tiny_runtime(tiny_beton, tmp_path, trackers=("trackio",)))
    with pytest.raises(
        InputError, match=r"wandb: its package is not installed \('cxr-harness\[trackers\]' brings it\)"
    ):
        preflight(tiny_config(), tiny_runtime(tiny_beton, tmp_path, trackers=("wandb",)))
    with pytest.raises(ValueError, match="trackers = 'neptune' is unknown; known: wandb, mlflow, trackio"):
        RuntimeConfig(trackers=("neptune",))  # type: ignore[arg-type]
