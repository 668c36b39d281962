"""What the three layouts share: jobs, reports, and tables written as CSV, CSV.GZ or lists."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.phantom.patients import Case, Patient, Profile, generator
from datasets.phantom.render import render
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


def draw_pixels(job: Job, profile: Profile, patient: Patient, study: int, image: int) -> NDArray[np.uint8]:
    """The pixels (H, W) of picture ``image`` of study ``study``, both counted from 0."""
    shown, rng = patient.studies[study], generator(job.seed, profile, patient.number, study, image)
    return render(profile, patient.anatomy, shown.case, shown.views[image], job.size, rng)


def save_jpeg(path: Path, gray: NDArray[np.uint8]) -> None:
    """Write 8-bit gray pixels as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gray).save(path, "JPEG", quality=_JPEG_QUALITY)


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

    A list file ends without a newline, as the real ones do.
    """
    header = layout.tables[name]
    columns = header.split(",")
    keys = [columns.index(column) for column in layout.order if column in columns]
    lines = [",".join(row) for row in sorted(rows, key=lambda row: [row[key] for key in keys])]
    data = "\n".join([header, *lines, ""] if header else lines).encode()
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
