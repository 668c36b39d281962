"""The phantoms of PadChest, RSNA Pneumonia, VinDr-CXR and BRAX lie on disk as the real datasets do."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.images.decode import decode_gray
from datasets.images.resize import fit
from datasets.phantom.write import write_phantom
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import read_records
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

PATIENTS, SIZE = 24, 32
FOLDERS = {"rsna_pneumonia": "RSNA-Pneumonia", "padchest": "PadChest", "vindr_cxr": "VinDr-CXR", "brax": "BRAX"}
PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(root, [*FOLDERS, "chestxray14"], patients=PATIENTS, seed=7, size=SIZE, workers=1)
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("dataset", FOLDERS)
def test_readers_take_every_image(phantom: Path, dataset: str) -> None:
    root = phantom / FOLDERS[dataset]
    records = read_records(dataset, root)
    files = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    images = {name for name in files if name.endswith((".png", ".dcm", ".dicom"))}
    assert len(records.rejects) == 0 and records.phantom
    assert len(records.frame) == len(images) - sum(records.dropped.values()) > PATIENTS / 2
    assert set(records.frame["path"]) <= images
    for path in records.frame["path"]:
        gray = decode_gray(root / path)
        assert min(gray.shape) == SIZE and np.ptp(gray) > 100


@pytest.mark.parametrize(("source", "name"), [(f"{PADCHEST}.gz", PADCHEST)])
def test_padchest_has_the_columns_of_the_real_table(phantom: Path, source: str, name: str) -> None:
    spec = importlib.util.find_spec("torchxrayvision")
    assert spec is not None and spec.origin is not None
    with gzip.open(Path(spec.origin).parent / "data" / source, "rt") as real:
        header = real.readline().strip()
    assert (phantom / "PadChest" / name).read_text().splitlines()[0] == header


def test_padchest_oddities(phantom: Path) -> None:
    root = phantom / "PadChest"
    rows = table(root / PADCHEST)
    assert {(row["ImageDir"], row["ImageID"]) for row in rows} == {
        (path.parent.name, path.name) for path in root.glob("*/*.png")
    }
    with Image.open(root / rows[0]["ImageDir"] / rows[0]["ImageID"]) as image:
        assert image.mode == "I;16"
    labels = {row["Labels"] for row in rows}
    assert {"nan", "['unchanged']", "['']"} <= labels and any("', ' " in text for text in labels)
    assert [row["Projection"] for row in rows].count("EXCLUDE") == 1
    assert {row["PatientID"] for row in rows if not row["PatientBirth"]} == {str(10**38 + 5)}
    assert all("\n" in row["labelCUIS"] for row in rows)
    records = read_records("padchest", root)
    assert records.dropped == {"row without labels": 1, "Projection is EXCLUDE": 1}
    assert ((records.targets == 255).any(axis=1)).sum() == 2


def test_rsna_images_are_those_of_chestxray14(phantom: Path) -> None:
    root = phantom / "RSNA-Pneumonia"
    rsna, nih = read_records("rsna_pneumonia", root), read_records("chestxray14", phantom / "ChestX-ray14")
    places = dict(zip(nih.frame["name"], nih.frame["path"], strict=True))
    assert set(rsna.frame["name"]) < set(places) and set(rsna.frame["patient"]) < set(nih.frame["patient"])
    for name, path in zip(rsna.frame["name"], rsna.frame["path"], strict=True):
        if name[:8] != "00000003":
            png, ours = decode_gray(phantom / "ChestX-ray14" / places[name]), decode_gray(root / path)
            assert np.corrcoef(png.ravel(), ours.ravel())[0, 1] > 0.99
    dataset = dcmread(root / rsna.frame["path"][0])
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert dataset.PatientID == Path(rsna.frame["path"][0]).stem and dataset.ViewPosition in ("PA", "AP")
    boxes = table(root / "stage_2_train_labels.csv")
    classes = table(root / "stage_2_detailed_class_info.csv")
    assert [row["patientId"] for row in boxes] == [row["patientId"] for row in classes]
    suspicious = [row["class"] == "Lung Opacity" for row in classes]
    assert [row["Target"] == "1" for row in boxes] == suspicious and 0 < sum(suspicious) < len(suspicious)
    entries = json.loads((root / "pneumonia-challenge-dataset-mappings_2018.json").read_text())
    assert sorted(entry["img_id"] for entry in entries) == sorted(rsna.frame["name"])


def test_vindr_readers_and_parts(phantom: Path) -> None:
    root = phantom / "VinDr-CXR"
    reads, test = (table(root / "annotations" / f"image_labels_{part}.csv") for part in ("train", "test"))
    assert set(Counter(row["image_id"] for row in reads).values()) == {3}
    assert {path.stem for path in (root / "train").glob("*.dicom")} == {row["image_id"] for row in reads}
    assert {path.stem for path in (root / "test").glob("*.dicom")} == {row["image_id"] for row in test}
    assert "Other diseases" in reads[0] and "Other disease" in test[0] and "rad_id" not in test[0]
    assert len(reads[0]) == 2 + 28
    headers = [dcmread(path) for path in sorted(root.rglob("*.dicom"))]
    assert {each.PhotometricInterpretation for each in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {(each.BitsStored, each.file_meta.TransferSyntaxUID) for each in headers} == {(12, ExplicitVRLittleEndian)}
    records = read_records("vindr_cxr", root)
    assert set(records.frame["official_split"]) == {"train", "test"}


def test_brax_cells(phantom: Path) -> None:
    root = phantom / "BRAX"
    rows = table(root / "master_spreadsheet_update.csv")
    assert list(rows[0])[8:22] == list(CHEXPERT_LABELS)
    assert {row["PngPath"] for row in rows} == {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    assert {row["PatientSex"] for row in rows} == {"F", "M", "O"} and "" in {row["ViewPosition"] for row in rows}
    assert {row[label] for row in rows for label in CHEXPERT_LABELS} == {"", "0.0", "1.0", "-1.0"}
    assert all(re.fullmatch(r"\d+|85 or more", row["PatientAge"]) for row in rows)
    for row in rows:
        with Image.open(root / row["PngPath"]) as image:
            assert image.size == (int(row["Columns"]), int(row["Rows"]))


@pytest.mark.parametrize("dataset", FOLDERS)
def test_a_beton_of_each_holds_its_pictures_and_targets(phantom: Path, dataset: str, tmp_path: Path) -> None:
    root = phantom / FOLDERS[dataset]
    records = read_records(dataset, root)
    splits = assign_splits(records, SplitConfig())
    ranks = subset_ranks(records.frame["name"], splits, 0)
    convert(records, splits, ranks, tmp_path / "x.beton", ConvertOptions(size=32, workers=1))
    beton = Beton.open(tmp_path / "x.beton")
    np.testing.assert_array_equal(beton.targets, records.targets)
    for index in range(0, len(records.frame), 7):
        np.testing.assert_array_equal(beton.page(index), fit(decode_gray(root / records.frame["path"][index]), 32))


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom.dataset", None)
    with pytest.raises(InputError, match=r"DICOM files need pydicom: pip install 'cxr-harness\[dicom\]'$"):
        write_phantom(tmp_path / "p", ["vindr_cxr"], patients=5, seed=0, size=SIZE, workers=1)
    assert not (tmp_path / "p" / "VinDr-CXR").exists()
