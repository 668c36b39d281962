"""Read the headers of a folder of DICOM files as a table: a row for each image, a column for each element."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.errors import InputError
from datasets.progress import progress
from datasets.sources.tables import SourceTable, Table

SUFFIXES = (".dcm", ".dicom")
NUMBERED = re.compile(r"\.\d+$")
"""What looks like a suffix in a name that is a UID, as archives export files."""
MAGIC, MAGIC_AT = b"DICM", 128
ROWS = 0x00280010
"""Tag that every image has."""
UNREADABLE = "(unreadable)"
"""Column that says why a file's header cannot be read; '' for the others."""
COMMON_TAGS = (
    *("PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate", "Modality", "ViewPosition", "PatientSex"),
    *("PatientAge", "InstitutionName", "Manufacturer", "ManufacturerModelName", "BodyPartExamined"),
    *("StudyDescription", "SeriesDescription", "SOPInstanceUID"),
)
logger = logging.getLogger(__name__)
_NUMBER = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)?")


def is_tag(name: str) -> bool:
    """Whether a name is a DICOM keyword, or a tag such as ``0010,0020``."""
    return name in COMMON_TAGS or _tag(name) is not None


def _tag(name: str) -> int | None:
    number = _NUMBER.fullmatch(name)
    if number:
        return int(number[1] + number[2], 16)
    try:
        from pydicom.datadict import tag_for_keyword
    except ImportError:
        raise InputError("DICOM tables need pydicom: pip install 'cxr-harness[dicom]'") from None
    return tag_for_keyword(name)


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files below a folder, by name: known by their suffix, or without one by their first bytes."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if is_dicom(path):
                yield path


def is_dicom(path: Path) -> bool:
    """Whether this is a DICOM file by its suffix; or without one, or named by a UID, by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.name == "DICOMDIR" or NUMBERED.sub("", path.suffix) or not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def read_dicom_folder(folder: Path, root: Path, columns: Sequence[str]) -> Table:
    """Read the headers of all DICOM images below ``folder``; ``file`` is the path below ``root``.

    DICOM files that are no image, such as reports, are passed over. The table's hash is that of its cells, since the
    pixels are hashed elsewhere.

    Raises:
        InputError: without any image, or without pydicom.
    """
    tags = {name: tag for name in columns if name != "file" and (tag := _tag(name)) is not None}
    files = list(dicom_files(folder))
    rows: list[list[str]] = []
    with progress(f"reading headers below {folder}", len(files), unit="files") as advance:
        for path in files:
            row = _read_header(path, tags)
            if row is not None:
                rows.append([path.relative_to(root).as_posix(), *row])
            advance(1, "")
    if rows and len(rows) < len(files):
        logger.info("%s: passed over %s DICOM files that are no image", folder, f"{len(files) - len(rows):,}")
    if not rows:
        raise InputError(f"{folder}: no DICOM image below it ({len(files):,} DICOM files)")
    frame = pd.DataFrame(rows, columns=["file", UNREADABLE, *tags], dtype="str")
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    digest = hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
    return Table(folder, SourceTable(f"{folder.name} (DICOM headers)", digest, len(frame)), frame)


def _read_header(path: Path, tags: dict[str, int]) -> list[str] | None:
    """Why the header is unreadable ('' if it is not), and its elements; None for what is no image."""
    import warnings

    from pydicom import dcmread

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted: list[int] = [*tags.values(), ROWS]
            header = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            if ROWS not in header:
                return None
            return ["", *(_text(header.get(tag)) for tag in tags.values())]
    except Exception as error:  # noqa: BLE001  pydicom raises of every kind on damaged files
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        return [f"damaged DICOM header: {reason}", *("" for _ in tags)]


def _text(element: Any) -> str:
    from pydicom.multival import MultiValue

    value = None if element is None else element.value
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value).strip()
