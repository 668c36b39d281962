"""Read boxes around findings from ChestX-ray14's BBox_List_2017.csv, or from a table of that form.

Boxes are in pixels of the published images, which are 1024 x 1024: left, top, width and height.
"""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import InputError
from datasets.files import regular
from datasets.sources.labels import canonical

HEADER = ("Image Index", "Finding Label")
CELLS = 6
"""Name, label and four numbers; the published table has three empty columns besides."""
PUBLISHED_SIDE = 1024
"""Side of ChestX-ray14's published images in pixels."""


@dataclass(frozen=True, kw_only=True)
class FindingBox:
    """A box around one finding in one image."""

    name: str
    """The image's, as in the samples table."""
    label: str
    """In its canonical spelling: the table's 'Infiltrate' is 'Infiltration'."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels, from the image's upper left corner."""


def read_boxes(path: Path) -> list[FindingBox]:
    """Read the boxes of a table, plain or gzipped.

    Raises:
        InputError: when it is absent or no such table, or when a row has no box.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(regular(path), "rt", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if any(row)]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of boxes ({error})") from None
    if not rows or tuple(rows[0][:2]) != HEADER:
        raise InputError(f"{path}: not a table of boxes; expected the columns {', '.join(HEADER)}, Bbox [x,y,w,h]")
    return [_box(path, number, row) for number, row in enumerate(rows[1:], 2)]


def _box(path: Path, number: int, row: list[str]) -> FindingBox:
    try:
        name, label, *cells = row[:CELLS]
        x, y, width, height = map(float, cells)
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            raise ValueError
    except ValueError:
        raise InputError(
            f"{path}, row {number}: {','.join(row)[:80]}: expected name, label and x, y, width, height in pixels"
        ) from None
    return FindingBox(name=name, label=canonical(label), box=(x, y, x + width, y + height))
