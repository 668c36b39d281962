"""Reading a folder of run folders: damaged, partial and foreign ones are named and the rest is used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from report_fixtures import LABELS, epoch_line, student, write, write_run

from datasets.errors import InputError
from launch.report.read.collect import PassedOver, collect, says_phantom
from launch.report.read.names import cell_label


def passed_over(directory: Path) -> dict[str, PassedOver]:
    return {item.path.name: item for item in collect(directory).passed_over}


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    config = student(seed=3, teacher="mimic_cxr")
    write_run(tmp_path, config, {"Edema": 0.5, "Effusion": 0.7}, curve=[(0.5, 0.4), (0.6, None), (0.7, 0.6)])
    collection = collect(tmp_path)
    assert collection.passed_over == ()
    (run,) = collection.runs
    assert run.config == config
    assert run.progress == "done"
    assert run.result is not None
    assert run.result.test.mean_auroc == pytest.approx(0.6)
    assert run.result.attention_weight == 0.5
    assert [(line.step, line.train.mean_auroc) for line in run.epochs] == [(10, 0.5), (20, 0.6), (30, 0.7)]
    assert run.epochs[1].validation is None
    assert (run.commit, run.content_hash, run.phantom) == ("0123456789", "beef" * 8, False)


def test_every_bad_folder_is_named_and_the_good_one_is_used(tmp_path: Path) -> None:
    good = student(seed=0)
    write_run(tmp_path, good, 0.8)
    (tmp_path / "betons").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "slurm").mkdir()  # what the queue of these runs left
    (tmp_path / "notes.txt").write_text("not a folder")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"config": {"da')
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "config.json", {"model": "resnet"})
    write_run(tmp_path, student(seed=1), 0.8, name="nan", result={"test": {"mean_auroc": float("nan"), "auroc": {}}})
    write_run(
        tmp_path, student(seed=2), 0.8, name="wrong_mean", result={"test": {"mean_auroc": 0.9, "auroc": {"a": 0.5}}}
    )
    write_run(tmp_path, student(seed=3), 0.8, name="swapped", result={"run_id": "another"})
    write_run(tmp_path, student(seed=4), None, name="half", status={"state": "failed", "error": "out of memory"})
    write_run(tmp_path, good, 0.1, name="z_copy")
    (tmp_path / "z_binary").mkdir()
    (tmp_path / "z_binary" / "config.json").write_bytes(b"\xff\xfe\x00")
    found = passed_over(tmp_path)
    assert {name: item.kind for name, item in found.items()} == {
        "betons": "foreign",
        "torn": "damaged",
        "other": "damaged",
        "nan": "damaged",
        "wrong_mean": "damaged",
        "swapped": "damaged",
        "half": "unfinished",
        "z_copy": "duplicate",
        "z_binary": "damaged",
    }
    assert "result.json: test.mean_auroc" in found["nan"].reason
    assert "0.900000" in found["wrong_mean"].reason
    assert "belongs to run 'another'" in found["swapped"].reason
    assert found["half"].reason == "failed, out of memory; no result.json yet"
    assert found["z_copy"].reason == f"the same run as {good.run_id}, which is used"
    assert found["torn"].reason.startswith("config.json: not a JSON file")
    assert {run.config.seed for run in collect(tmp_path).runs} == {0, 4}


def test_a_config_changed_afterwards_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, student(), 0.8)
    write_run(tmp_path, student(seed=1), 0.8)
    document = json.loads((folder / "config.json").read_text())
    document["config"]["schedule"]["epochs"] = 99
    write(folder / "config.json", document)
    assert "changed afterwards" in passed_over(tmp_path)[folder.name].reason
    document["config"]["schedule"]["epoch"] = 99
    write(folder / "config.json", document)
    assert "epoch" in passed_over(tmp_path)[folder.name].reason


def test_torn_repeated_and_odd_metrics_lines(tmp_path: Path) -> None:
    config = student()
    folder = write_run(tmp_path, config, 0.8)
    whole = [epoch_line(0, 0.5, 0.5), epoch_line(1, 0.1, 0.1), epoch_line(1, 0.6, 0.6)]
    lines = [*whole, '{"epoch": "x"}\n', "7\n", '{"ep']
    (folder / "metrics.jsonl").write_text("".join(lines))
    collection = collect(tmp_path)
    assert [(line.epoch, line.train.mean_auroc) for line in collection.runs[0].epochs] == [(0, 0.5), (1, 0.6)]
    assert [item.kind for item in collection.passed_over] == ["incomplete"]
    assert "2 lines" in collection.passed_over[0].reason
    (folder / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    collection = collect(tmp_path)
    assert collection.runs[0].epochs == ()
    assert "1 line " in collection.passed_over[0].reason


def test_a_folder_without_runs_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        collect(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        collect(tmp_path / "absent")
    folder = write_run(tmp_path, student(), 0.8)
    with pytest.raises(InputError, match="itself a run folder"):
        collect(folder)
    assert len(collect(tmp_path).runs) == 1
    with pytest.raises(InputError, match="no run folder"):
        collect(tmp_path, skip=folder)


def test_a_phantom_mark_is_found_at_any_depth() -> None:
    assert says_phantom({"beton": {"settings": {"phantom": True}}}, None)
    assert says_phantom({"data": [{"phantom": {"seed": 0}}]})
    assert not says_phantom({"phantom": False, "labels": list(LABELS)}, None, {})


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl", "provenance.json", "status.json"])
def test_a_fifo_or_device_flags_its_run_alone(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, student(), 0.8)
    for seed, place in ((1, "fifo"), (2, "device")):
        folder = write_run(tmp_path, student(seed=seed), None, name=place)
        (folder / name).unlink(missing_ok=True)
        if place == "fifo":
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo" / "index.html")
    found = passed_over(tmp_path)
    assert {place: (item.kind, item.reason) for place, item in found.items()} == dict.fromkeys(
        ("fifo", "device"), ("damaged", f"{name}: not a regular file, so it cannot be read")
    )
    assert [run.config.seed for run in collect(tmp_path).runs] == [0]


def test_a_dataset_of_one_s_own_is_called_as_its_runs_say(tmp_path: Path) -> None:
    titles = {"dataset_title": "Hospital of Nowhere"}
    write_run(tmp_path, student(dataset="nowhere"), 0.8, provenance=titles)
    write_run(tmp_path, student(dataset="elsewhere"), 0.8, provenance={"dataset_title": None})
    write_run(tmp_path, student(dataset="chexpert"), 0.8, provenance=titles)
    shown = {run.config.data.dataset: cell_label(run.config).group_text for run in collect(tmp_path).runs}
    assert {name: text.partition(",")[0] for name, text in shown.items()} == {
        "nowhere": "Hospital of Nowhere",
        "elsewhere": "elsewhere",
        "chexpert": "CheXpert",
    }
