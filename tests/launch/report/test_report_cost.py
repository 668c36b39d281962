"""What the grid cost: hours by cell, throughput by device, restarts and time lost, from run folders alone."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import repetitions, student, write, write_run

from launch.report.build import read_data
from launch.report.options import Options
from launch.report.read.collect import Run, collect
from launch.report.tables.cost import cost, device_text, run_cost
from launch.report.tables.overview import overview, runs
from launch.report.tables.paper_tables import tidy_csv
from launch.report.tables.table import Table

STATUS = {"state": "done", "updated": 11_000.0}


def write_timed(directory: Path, config: Any, *, devices: list[str], seconds: float = 3600.0, **result: Any) -> Path:
    provenance = {"devices": devices, "precision": "bf16", "started": 6_000.0, "earlier_starts": []}
    folder = write_run(directory, config, 0.7, provenance=provenance, result={"seconds": seconds, **result})
    write(folder / "status.json", STATUS)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == []
    return folder


def only_run(directory: Path) -> Run:
    (run,) = collect(directory).runs
    return run


def tables(directory: Path) -> dict[str, Table]:
    return {table.key: table for table in cost(read_data(directory, directory / "report", Options(resamples=0)))}


@pytest.mark.parametrize(
    ("devices", "gpu_h", "core_h", "text"),
    [
        (["cpu, 4 threads"], 0.0, 4.0, "cpu, 4 threads"),
        (["cpu, 2 threads"] * 3, 0.0, 6.0, "3 x cpu, 2 threads"),
        (["NVIDIA H100"] * 2, 2.0, 0.0, "2 x NVIDIA H100"),
        ([], 0.0, 0.0, "unknown"),
    ],
)
def test_hours_count_devices(tmp_path: Path, devices: list[str], gpu_h: float, core_h: float, text: str) -> None:
    write_timed(tmp_path, student(), devices=devices)
    run = only_run(tmp_path)
    cost = run_cost(run)
    assert cost is not None
    assert (cost.gpu_h, cost.core_h) == (gpu_h, core_h)
    assert cost.lost_h == pytest.approx((11_000 - 6_000 - 3600) / 3600)
    assert device_text(run) == text


def test_time_lost_counts_from_the_first_of_several_starts(tmp_path: Path) -> None:
    folder = write_timed(tmp_path, student(), devices=["NVIDIA H100"], restarts=2)
    document = json.loads((folder / "provenance.json").read_text())
    document |= {"started": 9_000.0, "earlier_starts": [{"started": 1_000.0}, {"started": 7_000.0}]}
    write(folder / "provenance.json", document)
    cost = run_cost(only_run(tmp_path))
    assert cost is not None
    assert cost.lost_h == pytest.approx((11_000 - 1_000 - 3600) / 3600)
    cost_table = tables(tmp_path)["cost"]
    assert [value.text for value in cost_table.rows[0][4:]] == ["1", "1.000", "-", "2", "1.778"]


def test_cells_add_up_to_all(tmp_path: Path) -> None:
    for config in (*repetitions(student(), 2), *repetitions(student(teacher="mimic_cxr"), 3)):
        write_timed(tmp_path, config, devices=["NVIDIA H100"], restarts=1)
    write_run(tmp_path, student(seed=9), None)
    cost = tables(tmp_path)["cost"]
    assert [value.text for value in cost.rows[-1]][:1] == ["All"]
    assert [value.text for value in cost.rows[-1]][4:8] == ["6", "5.000", "-", "5"]
    assert sum(float(row[5].text) for row in cost.rows[:-1]) == 5.0
    assert cost.rows[0][4].links[0].href.startswith("#run-")


def test_an_unfinished_run_costs_what_its_epochs_took(tmp_path: Path) -> None:
    folder = write_run(tmp_path, student(), None, provenance={"devices": ["NVIDIA H100"], "started": 1.0})
    assert run_cost(only_run(tmp_path)) is None
    assert tables(tmp_path) == {}
    epoch = {"epoch": 0, "step": 10, "train": {"mean_auroc": 0.6}, "elapsed_s": 1800.0}
    (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    cost = run_cost(only_run(tmp_path))
    assert cost is not None
    assert (cost.gpu_h, cost.lost_h) == (0.5, None)


def test_energy_has_a_column_where_a_device_told_it(tmp_path: Path) -> None:
    first, second, third = repetitions(student(), 3)
    write_timed(tmp_path, first, devices=["NVIDIA H100"])
    columns = [column.lines for column in tables(tmp_path)["cost"].columns]
    assert ("Energy (kWh)",) not in columns and len(columns) == 9
    write_timed(tmp_path, second, devices=["NVIDIA H100"], energy_kwh=0.25)
    folder = write_timed(tmp_path, third, devices=["NVIDIA H100"])
    (folder / "result.json").unlink()  # under way: its status tells
    write(folder / "status.json", {"state": "running", "epoch": 1, "epochs": 2, "energy_kwh": 0.5})
    epoch = {"epoch": 0, "step": 10, "train": {"mean_auroc": 0.6}, "elapsed_s": 7.0}
    (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    table = tables(tmp_path)["cost"]
    assert table.columns[-1].lines == ("Energy (kWh)",)
    assert [row[-1].text for row in table.rows] == ["0.75", "0.75"]
    assert [note.startswith("Energy is what the devices' counters told") for note in table.notes] == [False, True]


def test_throughput_is_by_network_method_and_device(tmp_path: Path) -> None:
    speeds = {0: 100.0, 1: 300.0, 2: 200.0}
    for config in repetitions(student(), 3):
        folder = write_timed(tmp_path, config, devices=["NVIDIA H100"], images_per_s=speeds[config.seed])
        waits = {"data_wait_s": 1.0 + config.seed, "compute_s": 8.0 - config.seed}
        epoch = {"epoch": 0, "step": 10, "train": {"mean_auroc": 0.6}, **waits}
        (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    write_timed(tmp_path, student(seed=5), devices=["cpu, 1 threads"], images_per_s=4.0)
    table = tables(tmp_path)["throughput"]
    rows = {row[6].text: [value.text for value in row[7:]] for row in table.rows}
    assert rows == {
        "NVIDIA H100": ["3", "200.0", "100.0", "300.0", "22.2"],
        "cpu, 1 threads": ["1", "4.0", "4.0", "4.0", "-"],
    }


def test_a_changed_number_of_processes_stands_beside_the_state(tmp_path: Path) -> None:
    counts = [{"from_step": 0, "processes": 2}, {"from_step": 40, "processes": 1}]
    for config, processes in zip(repetitions(student(), 3), (counts, counts[:1], [3, 4]), strict=True):
        write_run(tmp_path, config, 0.7, provenance={"processes": processes})
    (table,) = runs(read_data(tmp_path, tmp_path / "report", Options(resamples=0)))
    states = sorted(row[2].text for row in table.rows)
    assert states == ["done", "done", "done; 2 processes, 1 from step 40"]


def test_cells_say_in_which_arithmetic_they_were_computed_and_tables_that_they_mix_them(tmp_path: Path) -> None:
    changed = {"precision": "bf16", "precisions": ["fp32", "bf16"]}
    for config, said in (
        (student(), {"precision": "bf16"}),
        (student(teacher="imagenet"), {"precision": "fp32", "precisions": ["fp32"]}),
        (student(teacher="imagenet", seed=1), changed),
        (student(network="densenet40"), {}),
    ):
        write_run(tmp_path, config, 0.7, provenance=said)
    data = read_data(tmp_path, tmp_path / "report", Options(resamples=0))
    (table,) = overview(data)
    assert sorted(row[-1].text for row in table.rows) == ["-", "bf16", "fp32 and fp32 then bf16"]
    mixed = "MIXED ARITHMETIC: the runs computed in bf16 (1), fp32 (1), fp32 then bf16 (1); it alone moves scores"
    assert [note.startswith(mixed) for note in table.notes] == [False, True]
    assert data.notes[0].startswith(mixed)
    assert {record["precision"] for record in csv.DictReader(io.StringIO(tidy_csv(data.cells)))} == {
        *("", "bf16", "fp32 and fp32 then bf16"),
    }
    (alone,) = overview(replace(data, cells=data.cells[:1]))
    assert not any("MIXED" in note for note in alone.notes)


def test_odd_provenance_leaves_the_run_and_its_score(tmp_path: Path) -> None:
    odd = {"devices": "cpu", "precision": 3, "started": "noon", "earlier_starts": [7, {"started": None}], "beton": []}
    folder = write_run(tmp_path, student(), 0.7, provenance=odd)
    (folder / "status.json").write_text("{")
    run = only_run(tmp_path)
    assert run.result is not None
    assert (run.devices, run.precision, run.started, run.ended, run.beton) == ((), "", None, None, None)
    cost = run_cost(run)
    assert cost is not None
    assert cost.lost_h is None
