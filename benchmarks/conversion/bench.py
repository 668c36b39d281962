"""Measure conversion in images per second beside one Pillow process.

Beside them, under ``mimic_tables``: the time and memory that MIMIC-CXR's tables take before the first image.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from benchmarks.common.contenders import CONVERT_RATIOS, CONVERTERS
from benchmarks.common.environment import command_line, describe
from benchmarks.common.pictures import JPEG_QUALITY, Pictures
from benchmarks.common.prepare import repeat_files, source_pngs
from benchmarks.common.results import as_json, make_row, ratios
from benchmarks.common.rounds import measure_rounds, started
from benchmarks.conversion.mimic_tables import NUM_IMAGES, measure_tables
from datasets.errors import InputError
from datasets.images import ImageError
from datasets.images.decode import decode_gray

LARGE_WIDTH, LARGE_HEIGHT = 2544, 3056
"""Sides in pixels that are usual in MIMIC-CXR-JPG."""
DISTINCT_LARGE = 40
NOTE = (
    "Each round starts one process for each contender and counts all of it: start, imports and end. Ours is all that "
    "`cxr convert` does after its tables are read: workers started, images decoded and scaled, the beton written and "
    "read back, synchronised, renamed. Pillow decodes in full, scales and crops in one process, and writes its "
    "pages to a file without synchronising. The files of a round are the same pictures under several names, all of "
    "them in the page cache; a round of ours takes some seconds, so that what is started once weighs little, as it "
    "does with the 100,000 images and more of a real dataset."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    rounds: int = 5
    png: int = 2000
    """PNG files in each round."""
    large: int = 2000
    """Large JPEG files in each round."""
    tables: int = NUM_IMAGES
    """Images of the tables that are opened; 0: none are."""
    size: int = 256
    workers: int = 2
    large_width: int = LARGE_WIDTH
    large_height: int = LARGE_HEIGHT

    def __post_init__(self) -> None:
        if min(self.rounds, self.png, self.large, self.size, self.workers) < 1:
            raise InputError("--rounds, --png, --large, --size and --workers must be at least 1")
        if self.tables < 0:
            raise InputError(f"--tables {self.tables} must not be negative")


def bench_convert(images: Path | None, settings: Settings) -> dict[str, Any]:
    """Measure and return the object of ``cxr bench convert --json``.

    Raises:
        InputError: if there is no PNG below ``images``.
        ContenderError: if a contender ends in the middle of a round.
    """
    environment = describe(command_line())
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
        folder = Path(name)
        sources = _usable(source_pngs(images, folder, limit=settings.png))
        pictures = _prepare(sources, folder, settings)
        pictures.write(folder / "pictures.json")
        large_bytes = round(sum(Path(path).stat().st_size for path in pictures.jpeg) / len(pictures.jpeg))
        with started(CONVERTERS, folder / "pictures.json", folder) as (running, failed):
            values = measure_rounds(running, rounds=settings.rounds, seconds=None)
    rows = [
        make_row(
            one.name,
            one.title,
            one.output,
            ours=one.ours,
            values=values.get(one.name, []),
            absent=failed.get(one.name),
        )
        for one in CONVERTERS
    ]
    environment |= {
        "kind": "convert",
        "note": NOTE,
        "radiographs": len(sources),
        "made_up": images is None,
        "png": settings.png,
        "large": settings.large,
        "large_jpeg_bytes": large_bytes,
        "size": settings.size,
        "workers": settings.workers,
        "load_average_after": round(os.getloadavg()[0], 2),
    }
    measured = as_json(environment, rows, ratios(rows, CONVERT_RATIOS))
    if settings.tables:
        measured["mimic_tables"] = measure_tables(settings.tables, settings.rounds)
    return measured


def _prepare(sources: list[Path], folder: Path, settings: Settings) -> Pictures:
    print(f"preparing {settings.png:,} PNG and {settings.large:,} large JPEG files", file=sys.stderr, flush=True)
    names = repeat_files(sources, folder / "png", settings.png)
    distinct = _write_large(sources, folder / "distinct", settings)
    large = repeat_files(distinct, folder / "large", settings.large)
    return Pictures(
        folder=str(folder),
        png=tuple(str(folder / "png" / name) for name in names),
        jpeg=tuple(str(folder / "large" / name) for name in large),
        beton="",
        jpeg_beton="",
        size=settings.size,
        batch_size=1,
        workers=settings.workers,
    )


def _usable(sources: list[Path]) -> list[Path]:
    """Those that can be decoded, all of them in the page cache afterwards.

    Raises:
        InputError: if there is none.
    """
    usable = []
    for source in sources:
        try:
            decode_gray(source)
        except ImageError as error:
            print(f"left out: {source.name}: {error}", file=sys.stderr)
        else:
            usable.append(source)
    if not usable:
        raise InputError(f"{sources[0].parent}: none of its {len(sources):,} PNG files can be decoded")
    return usable


def _write_large(sources: list[Path], folder: Path, settings: Settings) -> list[Path]:
    """Some of the radiographs, made larger, as gray JPEG at quality 95."""
    folder.mkdir()
    written: list[Path] = []
    for source in sources[: min(DISTINCT_LARGE, settings.large)]:
        sides = (settings.large_width, settings.large_height)
        large = cv2.resize(decode_gray(source), sides, interpolation=cv2.INTER_CUBIC)
        written.append(folder / f"{len(written):04d}.jpg")
        cv2.imwrite(str(written[-1]), large, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return written
