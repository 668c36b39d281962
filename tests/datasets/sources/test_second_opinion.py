"""Labels of the tables that torchxrayvision brings, as its own readers take them: the same but for what is named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torchxrayvision as xrv

from datasets.sources.records import Records, read_records

PADCHEST_DIFFERENCES = {
    "Effusion": (31, 39),  # ours: hydropneumothorax; theirs: pericardial
    "Infiltration": (75, 0),  # miliary opacities
    "Nodule": (0, 2159),  # pseudonodules
    "Emphysema": (0, 203),  # subcutaneous
    "Support Devices": (10033, 0),  # tubes, catheters, valves
    "Tuberculosis": (0, 1005),  # its sequelae
    "Hilar Enlargement": (0, 624),  # calcified adenopathy
    "Aortic Elongation": (385, 0),  # the aortic button
}
"""Images that are positive here alone, and in torchxrayvision alone."""


def differences(records: Records, keys: pd.Series, theirs: pd.DataFrame) -> dict[str, tuple[int, int]]:
    ours = pd.DataFrame(records.targets == 1, columns=list(records.labels), index=keys)
    both = ours.index.intersection(theirs.index)
    ours, theirs = ours.loc[both], theirs.loc[both] > 0
    found = {
        label: (int((ours[label] & ~theirs[label]).sum()), int((theirs[label] & ~ours[label]).sum()))
        for label in ours.columns.intersection(theirs.columns)
    }
    assert len(both) > 1000 and len(found) > 0
    return {label: counts for label, counts in found.items() if any(counts)}


def linked(folder: Path, source: str, name: str) -> Path:
    (folder / name).symlink_to(Path(xrv.datasets.datapath) / source)
    return folder


@pytest.mark.filterwarnings("ignore:Parsing integer or float values with a format")
def test_padchest(tmp_path: Path) -> None:
    views = ["PA", "L", "AP Supine", "AP", "COSTAL", "UNK"]
    dataset = xrv.datasets.PC_Dataset(str(tmp_path), views=views, unique_patients=False)
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    records = read_records("padchest", linked(tmp_path, name, name), check_files=False)
    theirs = pd.DataFrame(dataset.labels, columns=dataset.pathologies, index=dataset.csv["ImageID"])
    assert len(theirs) == 158_605  # without children under ten, and images that it lists as broken
    assert differences(records, records.frame["name"], theirs) == PADCHEST_DIFFERENCES


def test_rsna(tmp_path: Path) -> None:
    dataset = xrv.datasets.RSNA_Pneumonia_Dataset(str(tmp_path), views=["PA", "AP"])
    with zipfile.ZipFile(Path(xrv.datasets.datapath) / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", tmp_path)
    entries = [
        f'{{"subset_img_id": "{image}", "img_id": "{at:08d}_000.png"}}'
        for at, image in enumerate(dataset.csv["patientId"])
    ]
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(f"[{','.join(entries)}]")
    records = read_records("rsna_pneumonia", tmp_path, check_files=False)
    theirs = pd.DataFrame(dataset.labels, columns=dataset.pathologies, index=dataset.csv["patientId"])
    assert differences(records, records.frame["path"].map(lambda path: Path(path).stem), theirs) == {}


def test_vinbigdata_takes_what_any_reader_says(tmp_path: Path) -> None:
    dataset = xrv.datasets.VinDr_Dataset(str(tmp_path))
    records = read_records(
        "vindr_cxr", linked(tmp_path, "vinbigdata-train.csv.gz", "train.csv.gz"), check_files=False
    )
    names = {"Effusion": "Pleural Effusion", "Other Lesion": "Other lesion", "Pulmonary Fibrosis": "Fibrosis"}
    theirs = pd.DataFrame(dataset.labels, columns=dataset.pathologies, index=dataset.csv["image_id"])
    found = differences(records, records.frame["name"], theirs.rename(columns=names))
    assert len(found) == 14 and all(ours == 0 for ours, _ in found.values())
    assert found["Cardiomegaly"] == (0, 2300 - 1817)
    assert np.isin(records.targets, (0, 1, 255)).all()
