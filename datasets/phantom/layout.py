"""What the layouts share: jobs, pictures, reports, image files, and tables written as CSV, CSV.GZ, JSON or lists."""

from __future__ import annotations

import gzip
import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from datasets.files import write_json
from datasets.phantom.patients import Case, Patient, Profile, Study, View, draw_patient, generator
from datasets.phantom.render import Traced, render
from datasets.sources.labels import CHEXPERT_LABELS

Row = tuple[str, ...]
Rows = dict[str, list[Row]]
"""Table name -> rows, in the order in which they are written."""

_JPEG_QUALITY = 92
_UNCERTAIN = set(CHEXPERT_LABELS) - {"No Finding", "Lung Opacity", "Support Devices"}
_MILD = 0.36
"""Below this severity a finding may be reported as uncertain."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One dataset to be written."""

    dataset: str
    patients: int
    seed: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a dataset lies on disk."""

    folder: str
    """Its folder below the phantom's."""
    tables: dict[str, str]
    """First line of each table; empty for a list of names."""
    write_patient: Callable[[Path, Job, int], tuple[Rows, int]]
    """Writes one patient's images below a folder; returns rows for the tables and the number of images."""
    order: tuple[str, ...] = ()
    """Columns that the rows of a table with them are sorted by."""


class Picture(NamedTuple):
    """One picture of a patient; ``study`` and ``image`` count from 0."""

    patient: Patient
    study: int
    image: int
    shown: Study
    view: View
    gray: NDArray[np.uint8]


def draw_pictures(job: Job, profile: Profile, number: int) -> Iterator[Picture]:
    """Every picture of a patient, study by study."""
    patient = draw_patient(job.seed, profile, number)
    for study, shown in enumerate(patient.studies):
        for image, view in enumerate(shown.views):
            yield Picture(patient, study, image, shown, view, draw_pixels(job, profile, patient, study, image))


def digits(job: Job, number: int, *place: int) -> str:
    """64 hexadecimal digits that are different for each patient, study and picture of a dataset."""
    return hashlib.sha256("/".join(map(str, (job.seed, number, *place))).encode()).hexdigest()


def draw_pixels(
    job: Job, profile: Profile, patient: Patient, study: int, image: int, traced: Traced | None = None
) -> NDArray[np.uint8]:
    """The pixels (H, W) of picture ``image`` of study ``study``, both counted from 0."""
    shown, rng = patient.studies[study], generator(job.seed, profile, patient.number, study, image)
    return render(profile, patient.anatomy, shown.case, shown.views[image], job.size, rng, traced)


def save_jpeg(path: Path, gray: NDArray[np.uint8]) -> None:
    """Write 8-bit gray pixels as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gray).save(path, "JPEG", quality=_JPEG_QUALITY)


def save_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write gray pixels of 8 or 16 bits, or RGBA ones, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", compress_level=1)


def save_dicom(
    path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], jpeg: bytes = b"", **elements: Any
) -> None:
    """Write gray pixels, or the JPEG that ``jpeg`` holds of them, as DICOM; ``elements`` are added by keyword.

    Raises:
        InputError: when pydicom is not installed.
    """
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEGBaseline8Bit
    except ImportError:
        raise InputError("DICOM files need pydicom: pip install 'cxr-harness[dicom]'") from None
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{int(hashlib.sha256(path.name.encode()).hexdigest()[:30], 16)}")
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # real headers have ages without their unit
        for name, value in elements.items():
            setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = encapsulate([jpeg]) if jpeg else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype == np.uint8 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def report(case: Case, labels: Iterable[str], rng: np.random.Generator) -> Row:
    """What an automatic labeller reads from the report of a study: '1.0', '0.0', '-1.0' or '' for each label.

    No Finding is '1.0' or '' and stands beside nothing but Support Devices and denials; a mild finding may be
    uncertain, and a study with a disease may have another one uncertain.
    """
    severity: dict[str, float] = {}
    for finding in case:
        for name in finding.kind.chexpert_labels:
            severity[name] = max(severity.get(name, 0.0), finding.severity)
    healthy = all(finding.name == "devices" for finding in case)
    cells = []
    for label in labels:
        chance = rng.random()
        uncertain = label in _UNCERTAIN
        if label == "No Finding":
            cells.append("1.0" if healthy else "")
        elif label in severity:
            cells.append("-1.0" if uncertain and severity[label] < _MILD and chance < 0.35 else "1.0")
        elif chance < 0.15:
            cells.append("0.0")
        else:
            cells.append("-1.0" if uncertain and not healthy and chance > 0.97 else "")
    return tuple(cells)


def write_table(folder: Path, name: str, layout: Layout, rows: list[Row]) -> None:
    """Write one table whose cells need no quotes; ``.gz`` without a time, so that equal rows give equal bytes.

    A list file ends without a newline, as the real ones do; JSON is a list of objects with the columns as keys.
    """
    header = layout.tables[name]
    columns = header.split(",")
    if name.endswith(".json"):
        write_json(folder / name, [dict(zip(columns, row, strict=True)) for row in rows])
        return
    keys = [columns.index(column) for column in layout.order if column in columns]
    lines = [",".join(row) for row in sorted(rows, key=lambda row: [row[key] for key in keys])]
    data = "\n".join([header, *lines, ""] if header else lines).encode()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
