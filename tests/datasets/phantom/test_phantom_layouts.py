"""The three phantom datasets lie on disk exactly as the real ones do, oddities included."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets.phantom.chestxray14 import PROFILE, finding_labels
from datasets.phantom.mimic_cxr import has_labels, study_id, subject_id
from datasets.phantom.patients import draw_patient
from datasets.phantom.write import write_phantom
from datasets.sources.records import read_records

PATIENTS, SEED, SIZE = 60, 7, 32
DISEASES_BESIDE_NO_FINDING = {"Support Devices"}

CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHESTXRAY14_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
MIMIC_HEADERS = {
    "chexpert": "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,"
    "Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,"
    "Support Devices",
    "metadata": "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,"
    "StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
    "PatientOrientationCodeSequence_CodeMeaning",
    "split": "dicom_id,study_id,subject_id,split",
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "data"
    names = ["chexpert", "chestxray14", "mimic_cxr"]
    write_phantom(root, names, patients=PATIENTS, seed=SEED, size=SIZE, workers=1)
    return root


def read_table(path: Path) -> tuple[str, list[dict[str, str]]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    lines = text.splitlines()
    return lines[0], list(csv.DictReader(lines))


def assert_no_finding_is_consistent(row: dict[str, str], labels: list[str]) -> None:
    positive = {label for label in labels if row[label] in ("1.0", "-1.0")}
    if "No Finding" in positive:
        assert positive <= {"No Finding"} | DISEASES_BESIDE_NO_FINDING
    if positive & {"Edema", "Consolidation", "Pneumonia", "Atelectasis", "Lung Lesion"} and any(
        row[label] == "1.0" for label in ("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Lung Lesion")
    ):
        assert row["Lung Opacity"] == "1.0"


def test_chexpert_tables_and_files_agree(phantom: Path) -> None:
    root = phantom / "CheXpert-v1.0-small"
    pattern = re.compile(
        r"(CheXpert-v1\.0-small)/(train|valid)/patient(\d{5})/study(\d+)/view(\d+)_(frontal|lateral)\.jpg"
    )
    named = []
    for part, expected in (("train", 57), ("valid", 3)):
        header, rows = read_table(root / f"{part}.csv")
        assert header == CHEXPERT_HEADER
        matches = [pattern.fullmatch(row["Path"]) for row in rows]
        assert all(match is not None and match[2] == part for match in matches)
        assert len({match[3] for match in matches if match}) == expected
        for match, row in zip(matches, rows, strict=True):
            assert match is not None
            assert row["Frontal/Lateral"] == match[6].capitalize()
            assert (row["AP/PA"] == "") == (match[6] == "lateral")
        named += [row["Path"] for row in rows]
    found = sorted(path.relative_to(phantom).as_posix() for path in root.rglob("*.jpg"))
    assert sorted(named) == found
    shapes = set()
    for name in named:
        with Image.open(phantom / name) as image:
            assert (image.format, image.mode, min(image.size)) == ("JPEG", "L", SIZE)
            shapes.add(image.size)
    assert len(shapes) > 1


def test_chexpert_cells(phantom: Path) -> None:
    _, rows = read_table(phantom / "CheXpert-v1.0-small" / "train.csv")
    labels = CHEXPERT_HEADER.split(",")[5:]
    cells = Counter(row[label] for row in rows for label in labels)
    assert set(cells) == {"", "0.0", "1.0", "-1.0"}
    assert cells[""] > cells["0.0"] > cells["-1.0"]
    assert {row["No Finding"] for row in rows} == {"", "1.0"}
    for row in rows:
        assert_no_finding_is_consistent(row, labels)
    _, rows = read_table(phantom / "CheXpert-v1.0-small" / "valid.csv")
    assert {row[label] for row in rows for label in labels} == {"0.0", "1.0"}
    for row in rows:
        positive = {label for label in labels if row[label] == "1.0"}
        assert "No Finding" not in positive or positive <= {"No Finding", "Support Devices"}


def test_chexpert_oddities(phantom: Path) -> None:
    _, rows = read_table(phantom / "CheXpert-v1.0-small" / "train.csv")
    by_patient: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_patient.setdefault(row["Path"].split("/")[2], []).append(row)
    assert [name for name, each in by_patient.items() if each[0]["Sex"] == "Unknown"] == ["patient00002"]
    assert {row["Age"] for row in by_patient["patient00002"]} == {"0"}
    assert all(int(row["Age"]) <= 90 for row in rows)
    only_lateral = [name for name, each in by_patient.items() if {r["Frontal/Lateral"] for r in each} == {"Lateral"}]
    assert only_lateral == ["patient00003"]
    assert [row["Path"].split("/")[2] for row in rows if row["AP/PA"] == "LL"] == ["patient00004"]
    studies = [[row["Path"].split("/")[3] for row in each] for each in by_patient.values()]
    assert any(each != sorted(each) for each in studies)
    assert any(len(set(each)) > 1 for each in studies)
    assert any(len(each) > len(set(each)) for each in studies)


def test_chestxray14_tables_and_files_agree(phantom: Path) -> None:
    root = phantom / "ChestX-ray14"
    header, rows = read_table(root / "Data_Entry_2017_v2020.csv")
    assert header == CHESTXRAY14_HEADER
    files = {path.name: path for path in root.glob("images_*/images/*.png")}
    assert sorted(row["Image Index"] for row in rows) == sorted(files)
    assert {path.parent.parent.name for path in files.values()} == {f"images_{n:03d}" for n in range(1, 13)}
    assert all(int(row["Image Index"][:8]) == int(row["Patient ID"]) for row in rows)
    assert all(re.fullmatch(r"\d{8}_\d{3}\.png", name) for name in files)
    lists = {name: (root / name).read_text() for name in ("train_val_list.txt", "test_list.txt")}
    assert not any(text.endswith("\n") for text in lists.values())
    train, test = (set(text.split("\n")) for text in lists.values())
    assert train | test == set(files)
    assert not {name[:8] for name in train} & {name[:8] for name in test}


def test_chestxray14_oddities(phantom: Path) -> None:
    root = phantom / "ChestX-ray14"
    modes = {}
    for path in root.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (SIZE, SIZE))
            modes[path.name] = image.mode
    assert Counter(modes.values()) == {"L": len(modes) - 2, "RGBA": 1, "I;16": 1}
    assert modes["00000001_000.png"] == "RGBA"
    assert modes["00000002_000.png"] == "I;16"
    _, rows = read_table(root / "Data_Entry_2017_v2020.csv")
    third = [(row["Image Index"], row["Follow-up #"]) for row in rows if row["Patient ID"] == "3"]
    assert third == [("00000003_001.png", "0"), ("00000003_002.png", "1"), ("00000003_000.png", "2")]


def test_chestxray14_labels_are_those_of_the_drawn_findings(phantom: Path) -> None:
    _, rows = read_table(phantom / "ChestX-ray14" / "Data_Entry_2017_v2020.csv")
    assert any("|" in row["Finding Labels"] for row in rows)
    for row in rows:
        number, study = int(row["Patient ID"]), int(row["Image Index"][9:12])
        if number == 3:
            continue
        case = draw_patient(SEED, PROFILE, number).studies[study].case
        assert row["Finding Labels"] == finding_labels(case)
        assert "No Finding" not in row["Finding Labels"].split("|") or row["Finding Labels"] == "No Finding"


def test_mimic_tables_and_files_agree(phantom: Path) -> None:
    root = phantom / "MIMIC-CXR-JPG"
    tables = {}
    for name, expected in MIMIC_HEADERS.items():
        header, tables[name] = read_table(root / f"mimic-cxr-2.0.0-{name}.csv.gz")
        assert header == expected
    places = {
        f"files/p{r['subject_id'][:2]}/p{r['subject_id']}/s{r['study_id']}/{r['dicom_id']}.jpg": r
        for r in tables["metadata"]
    }
    assert sorted(places) == sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    for place, row in places.items():
        assert re.fullmatch(r"([0-9a-f]{8}-){4}[0-9a-f]{8}", row["dicom_id"])
        with Image.open(root / place) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            assert image.size == (int(row["Columns"]), int(row["Rows"]))
    assert {r["dicom_id"] for r in tables["split"]} == {r["dicom_id"] for r in tables["metadata"]}
    assert {r["split"] for r in tables["split"]} == {"train", "validate", "test"}
    assert len({(r["subject_id"], r["split"]) for r in tables["split"]}) == PATIENTS


def test_mimic_labels_and_oddities(phantom: Path) -> None:
    root = phantom / "MIMIC-CXR-JPG"
    _, labels = read_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz")
    _, metadata = read_table(root / "mimic-cxr-2.0.0-metadata.csv.gz")
    names = MIMIC_HEADERS["chexpert"].split(",")[2:]
    assert {row[name] for row in labels for name in names} == {"", "0.0", "1.0", "-1.0"}
    for row in labels:
        assert_no_finding_is_consistent(row, names)
    studies = Counter(row["study_id"] for row in metadata)
    labelled = {row["study_id"] for row in labels}
    assert len(labelled) == len(labels)
    assert set(studies) - labelled == {str(study_id(number, 0)) for number in (3, 53)}
    assert not has_labels(3, 0)
    assert max(studies.values()) > 1
    assert {"AP", "PA", "LATERAL", "LL", ""} == {row["ViewPosition"] for row in metadata}
    assert (root / "files/p10/p10000032/s50414267").is_dir()


def test_mimic_ids_never_meet() -> None:
    numbers = range(1, 20_001)
    subjects = {subject_id(number) for number in numbers}
    studies = {study_id(number, study) for number in numbers for study in range(3)}
    assert len(subjects) == 20_000
    assert len(studies) == 60_000
    assert min(subjects) >= 10_000_000 and max(subjects) <= 19_999_999
    assert min(studies) >= 50_000_000 and max(studies) <= 59_999_999


@pytest.mark.parametrize(
    ("dataset", "folder", "dropped"),
    [("chexpert", "CheXpert-v1.0-small", 0), ("chestxray14", "ChestX-ray14", 0), ("mimic_cxr", "MIMIC-CXR-JPG", 2)],
)
def test_readers_take_every_image(phantom: Path, dataset: str, folder: str, dropped: int) -> None:
    root = phantom / folder
    records = read_records(dataset, root)
    images = sum(1 for path in root.rglob("*") if path.suffix in (".jpg", ".png"))
    assert len(records.rejects) == 0
    assert len(records.frame) == images - sum(records.dropped.values())
    assert (sum(records.dropped.values()) > 0) == (dropped > 0)
    assert records.frame["patient"].nunique() in (PATIENTS, PATIENTS - 1, PATIENTS - 2)
    assert (records.targets.sum(axis=0) > 0).all()


def test_records_of_phantom_images_say_so(tmp_path: Path) -> None:
    write_phantom(tmp_path, ["chexpert"], patients=6, seed=0, size=64)
    assert read_records("chexpert", tmp_path).phantom
    folder = tmp_path / "CheXpert-v1.0-small"
    assert read_records("chexpert", folder).phantom
    (folder / "PHANTOM.json").unlink()
    assert not read_records("chexpert", folder).phantom
