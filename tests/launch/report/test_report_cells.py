"""Grouping runs into cells, and scores that may be compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from report_fixtures import mimic_teacher, pretraining, repetitions, student, write_run

from harness.config import BetaSearch, NetworkConfig, Schedule, Weights
from launch.report.build import read_data
from launch.report.content import ReportData
from launch.report.figures.scores import learning_curve
from launch.report.options import Options
from launch.report.read.names import CellLabel, cell_label
from launch.report.tables.overview import comparisons, labels, overview, prerequisites


def data_of(directory: Path) -> ReportData:
    return read_data(directory, directory / "report", Options(resamples=0))


def test_repetitions_differ_in_nothing_but_the_seed(tmp_path: Path) -> None:
    for config, value in zip(repetitions(student(), 3), (0.70, 0.72, 0.71), strict=True):
        write_run(tmp_path, config, value)
    write_run(tmp_path, student(epochs=9), 0.9)
    cells = data_of(tmp_path).cells
    by_count = {len(cell.runs): cell for cell in cells}
    assert set(by_count) == {1, 3}
    summary = by_count[3].summary
    assert summary is not None
    assert summary.mean == pytest.approx(71.0)
    assert summary.std == pytest.approx(1.0)
    assert [run.config.seed for run in by_count[3].runs] == [0, 1, 2]
    assert (by_count[3].differs, by_count[1].differs) == ("schedule.epochs=3", "schedule.epochs=9")
    assert by_count[1].method_text == "Transfer learning (schedule.epochs=9)"


def test_cells_that_differ_in_an_option_say_its_default_too(tmp_path: Path) -> None:
    config = student()
    options = dataclasses.replace(config, data=dataclasses.replace(config.data, balance="Edema"))
    for found in (config, options, dataclasses.replace(config, schedule=Schedule(epochs=3, optimizer="sgd"))):
        write_run(tmp_path, found, 0.7)
    told = {cell.config.hash: cell.differs for cell in data_of(tmp_path).cells}
    assert told[config.hash] == "data.balance=None, schedule.optimizer=adam"
    assert told[options.hash] == "data.balance=Edema, schedule.optimizer=adam"


def test_an_unfinished_repetition_counts_as_one_on_its_way(tmp_path: Path) -> None:
    write_run(tmp_path, student(seed=0), 0.7)
    write_run(tmp_path, student(seed=1), None)
    data = data_of(tmp_path)
    (cell,) = data.cells
    assert (len(cell.finished), cell.num_unfinished, cell.points) == (1, 1, (pytest.approx(70.0), None))
    row = [value.text for value in overview(data)[0].rows[0]]
    assert row == [
        *("CheXpert", "200", "ImageNet", "Transfer learning", "-", "DenseNet-121", "all layers"),
        *("-", "1 (+1)", "70.00 (n=1)", "-", "70.00, ...", "-"),
    ]


def test_roles_follow_from_the_configs(tmp_path: Path) -> None:
    search = BetaSearch(template=student(teacher="mimic_cxr"), points=(1.0, 10.0))
    config = student(teacher="mimic_cxr", beta=search, init=Weights(kind="run", run=pretraining()))
    for run in (config, *search.runs, mimic_teacher(), pretraining(), pretraining("densenet40")):
        write_run(tmp_path, run, 0.8)
    data = data_of(tmp_path)
    cells = data.cells
    roles = {run.run_id: cell.role for cell in cells for run in cell.runs}
    assert roles == {
        config.run_id: "student",
        search.runs[0].run_id: "search",
        search.runs[1].run_id: "search",
        mimic_teacher().run_id: "prerequisite",
        pretraining().run_id: "prerequisite",
        pretraining("densenet40").run_id: "student",
    }
    assert sorted(cell.differs for cell in cells if cell.role == "search") == [
        "objective.beta=1",
        "objective.beta=10",
    ]
    assert all(cell.differs == "" for cell in cells if cell.role != "search")
    (table,) = prerequisites(data)
    assert [row[0].text for row in table.rows] == ["ChestX-ray14", "MIMIC-CXR"]
    assert len(comparisons(data)) == 2


def test_one_size_has_one_label_however_it_is_written() -> None:
    assert cell_label(student(subset="5000")) == cell_label(student(subset="5k"))
    assert cell_label(student(teacher="imagenet", scope="all")) == CellLabel(
        "chexpert", "200", "imagenet", "attention_transfer", "imagenet", "densenet121", "all"
    )


def test_teachers_of_one_dataset_are_told_apart_by_their_network() -> None:
    config = student(teacher="mimic_cxr")
    assert cell_label(config).teacher_text == "MIMIC-CXR"
    teacher = config.objective.teacher
    assert teacher is not None and teacher.run is not None
    run = dataclasses.replace(teacher.run, network=NetworkConfig(name="torchvision/resnet18"))
    objective = dataclasses.replace(config.objective, teacher=dataclasses.replace(teacher, run=run))  # type: ignore[type-var]
    other = cell_label(dataclasses.replace(config, objective=objective))
    assert other.teacher_text == "MIMIC-CXR torchvision/resnet18"
    assert other != cell_label(config)


def test_a_label_undefined_everywhere_is_named_and_means_stay(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, student(seed=seed), {"Edema": 0.6, "Hernia": None})
    data = data_of(tmp_path)
    (cell,) = data.cells
    assert cell.points == (pytest.approx(60.0), pytest.approx(60.0))
    assert data.notes == ("CheXpert: no AUROC for Hernia (one class in the test split); left out of every mean",)
    (table,) = labels(data)
    assert [[value.text for value in row] for row in table.rows] == [
        ["Edema", "60.00"],
        ["Hernia", "one class"],
        ["Mean", "60.00 ± 0.00 (n=2)"],
    ]


def test_differing_labels_are_averaged_over_the_common_ones_and_said(tmp_path: Path) -> None:
    first, second = student(seed=0), student(seed=1)
    write_run(tmp_path, first, {"Edema": 0.6, "Effusion": 0.8, "Hernia": 0.1})
    write_run(tmp_path, second, {"Edema": 0.7, "Effusion": 0.9, "Hernia": None})
    write_run(tmp_path, mimic_teacher(), {"Edema": 0.5, "Effusion": None})
    data = data_of(tmp_path)
    chexpert = next(cell for cell in data.cells if cell.label.dataset == "chexpert")
    assert chexpert.points == (pytest.approx(70.0), pytest.approx(80.0))
    assert data.notes[0] == (
        f"CheXpert: THE RUNS HAVE DIFFERENT LABELS: Hernia without AUROC in {second.run_id}; "
        "every mean is taken anew over the 2 labels that all runs have"
    )
    assert data.notes[1].startswith("MIMIC-CXR: no AUROC for Effusion")


def test_no_common_label_leaves_no_score(tmp_path: Path) -> None:
    write_run(tmp_path, student(seed=0), {"Edema": 0.6, "Hernia": None})
    write_run(tmp_path, student(seed=1), {"Edema": None, "Hernia": 0.6})
    data = data_of(tmp_path)
    (cell,) = data.cells
    assert cell.points == (None, None)
    assert cell.summary is None
    assert "over the 0 labels" in data.notes[0]


def test_different_betons_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, student(seed=0), 0.6)
    write_run(tmp_path, student(seed=1), 0.6, result={"content_hash": "cafe" * 8})
    data = data_of(tmp_path)
    assert data.notes == ("CheXpert: THE RUNS READ 2 DIFFERENT BETONS (beefbeefbe, cafecafeca); compare with care",)


def test_curves_are_means_up_to_the_last_common_step(tmp_path: Path) -> None:
    write_run(tmp_path, student(seed=0), 0.6, curve=[(0.50, 0.50), (0.60, 0.52), (0.9, 0.9)])
    write_run(tmp_path, student(seed=1), 0.6, curve=[(0.54, None), (0.62, 0.56)])
    write_run(tmp_path, student(seed=2), None, curve=[(0.1, 0.1)])
    data = data_of(tmp_path)
    (cell,) = data.cells
    train, validation = learning_curve(cell, "train"), learning_curve(cell, "validation")
    assert train.index.tolist() == [10, 20]
    assert train["mean"].tolist() == [pytest.approx(52.0), pytest.approx(61.0)]
    assert train["min"].tolist() == [pytest.approx(50.0), pytest.approx(60.0)]
    assert train["max"].tolist() == [pytest.approx(54.0), pytest.approx(62.0)]
    assert (validation.index.tolist(), validation["mean"].tolist()) == ([20], [pytest.approx(54.0)])
