"""The registry of datasets: what an entry gives every part that asks by name."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.errors import InputError
from datasets.phantom.write import phantom_datasets
from datasets.sources.labels import canonical
from datasets.sources.records import read_records
from datasets.sources.registry import DATASETS, DatasetEntry, dataset_entry, entry_or_own
from harness.config import DataConfig, RunConfig
from harness.runs.runtime import RuntimeConfig
from launch.plan.cost import run_work
from launch.plan.run_state import dataset_facts
from launch.report.read.names import word

READER = """
from datasets.sources.cells import read_label_table
from datasets.sources.folders import refusals
from datasets.sources.rows import source_rows

LABELS = ("Lordosis", "Cardiomegaly")


def read(root, *, check_files):
    file = root / "spines.csv"
    table, values = read_label_table(file, ["file", "patient"], LABELS)
    raw = table.frame["file"]
    columns = {"raw": raw, "path": raw, "name": raw, "patient": table.frame["patient"]}
    reasons = refusals(raw, raw.str.endswith(".png"), "a .png")
    return source_rows(table, columns, reasons, values, labels=LABELS, looked_in="the root")
"""


@pytest.fixture
def spines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "spine_reader.py").write_text(READER)
    (tmp_path / "spines.csv").write_text(
        "patient,file,lordosis,Lordosis,Cardiomegaly\n7,a.png,x,1,0\n8,b.png,x,-1,1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    DATASETS.add(
        "spines",
        DatasetEntry(
            title="Spines",
            reader="spine_reader:read",
            labels=("Lordosis", "Cardiomegaly"),
            split_sizes={"train": 80, "validation": 10},
        ),
    )
    yield tmp_path
    DATASETS.remove("spines")
    sys.modules.pop("spine_reader", None)


def test_a_dataset_of_another_package_is_read_planned_and_named(spines: Path) -> None:
    records = read_records("spines", spines, check_files=False)
    assert records.labels == ("Lordosis", "Cardiomegaly")
    assert records.targets.tolist() == [[1, 0], [0, 1]]
    config = RunConfig(data=DataConfig(dataset="spines"))
    assert run_work(config, {}).train_images == 80 * config.schedule.epochs
    assert word("spines") == "Spines"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    known = "known: " + ", ".join(DATASETS)
    with pytest.raises(InputError, match=f"unknown dataset 'nowhere'; {known}"):
        dataset_entry("nowhere")
    assert entry_or_own("hospital").title == "hospital"


def test_a_config_may_name_any_dataset_and_the_data_folder_decides(tmp_path: Path) -> None:
    config = RunConfig(data=DataConfig(dataset="hospitl"))
    (tmp_path / "hospital.beton.json").touch()
    message = (
        f"data.dataset = 'hospitl' is unknown: it is not registered, and {tmp_path} (--data-dir) holds no "
        f"hospitl.beton; did you mean hospital? known: {', '.join(DATASETS)}, hospital"
    )
    for look in (RuntimeConfig(data_dir=tmp_path).beton_for, lambda name: dataset_facts(tmp_path, [name])):
        with pytest.raises(InputError) as caught:
            look(config.data.dataset)
        assert str(caught.value) == message
    assert RuntimeConfig(data_dir=tmp_path).beton_for("hospital") == tmp_path / "hospital.beton"
    assert RuntimeConfig(data_dir=tmp_path).beton_for("chexpert") == tmp_path / "chexpert.beton"


def test_every_entry_names_a_reader_and_its_labels() -> None:
    for entry in DATASETS.values():
        assert callable(pkgutil.resolve_name(entry.reader))
        assert len(entry.labels) == len({canonical(label) for label in entry.labels})
        assert tuple(map(canonical, entry.labels)) == entry.labels
        assert set(entry.split_sizes) == {"train", "validation"}
    assert phantom_datasets() == [name for name in DATASETS if name != "chestxray14_5.6k"]
