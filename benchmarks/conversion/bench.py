"""``cxr bench convert``: measure conversion in images per second beside the usual decoders, by core and by workers.

Beside them, under ``mimic_tables``: the time and memory that MIMIC-CXR's tables take before the first image.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.environment import describe
from benchmarks.common.pictures import JPEG_QUALITY, Pictures
from benchmarks.common.results import Row, as_json, ratios
from benchmarks.common.rounds import measure_rounds, started
from benchmarks.common.settings import PicturesBench, check_names, check_positive, chosen
from benchmarks.conversion.contenders import CONVERT_RATIOS, CONVERTERS
from datasets.errors import InputError

LARGE_SIDES = (2544, 3056)
"""Width and height in pixels that are usual in MIMIC-CXR-JPG."""
DISTINCT_LARGE = 40
NOTE = (
    "Each round starts one process for each contender and counts all of it: start, imports and end. On one core it "
    "is bound to that core; with all workers it has as many cores and decoding processes, in peers a pool. "
    "Ours is all that `cxr convert` does after its tables are read: workers started, images decoded and scaled, the "
    "beton written and read back, synchronised, renamed. Peers decode, scale by a filter that gives the same pixels "
    "(within two gray levels on 99 of 100, as a test holds), crop, and write their pages to a file without "
    "synchronising; those whose filter gives other pixels have tables of their own, and no ratio. The files of a "
    "round are the same pictures under several names, all of them in the page cache; a round takes some seconds, so "
    "that what is started once weighs little, as it does with the 100,000 images and more of a real dataset."
)


@dataclass(frozen=True, kw_only=True)
class BenchConvert(PicturesBench):
    """Measure the conversion of PNG and of large JPEG files beside the usual decoders, in turns.

    Also the time and memory to open tables of MIMIC-CXR's size. About five minutes a round on two cores.

    For example:
        cxr bench convert --images data/pngs --out benchmarks
    """

    png: int = 1000
    """PNG files of a conversion; the radiographs are repeated up to this number."""
    large: int = 600
    """Large JPEG files of a conversion, made from the radiographs."""
    tables: int = 371_858
    """Images of the made-up MIMIC-CXR tables that are opened; 0: leave this out."""
    size: int = 256
    """Side of the pages in pixels, a multiple of 32."""
    workers: int = 2
    """Cores, and decoding processes, of those with all workers."""
    only: tuple[str, ...] = ()
    """Contenders to measure, as ours_png_one; default: all. With it, no tables are opened."""

    def measure(self) -> dict[str, Any]:
        check_positive(self, "rounds", "png", "large", "size", "workers")
        check_names("--only", self.only, [one.name for one in CONVERTERS], "contender")
        if self.tables < 0:
            raise InputError(f"--tables {self.tables} must not be negative")
        from benchmarks.common.prepare import source_pngs
        from benchmarks.conversion.mimic_tables import measure_tables

        environment = describe()
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            folder = Path(name)
            sources = _usable(source_pngs(self.images, folder, limit=self.png))
            pictures = self._prepare(sources, folder)
            large_bytes = round(sum(Path(path).stat().st_size for path in pictures.jpeg) / len(pictures.jpeg))
            contenders = [one for one in CONVERTERS if not self.only or one.name in self.only]
            absent = {one.name: why for one in contenders if (why := one.missing(pictures, gpu=False))}
            there = [one for one in contenders if one.name not in absent]
            with started(there, folder / "pictures.json", folder) as (running, failed):
                values = measure_rounds(running, failed, rounds=self.rounds, seconds=None)
        failed |= absent
        rows = [Row.of(one, values.get(one.name, ()), failed.get(one.name)) for one in contenders]
        environment |= {"kind": "convert", "note": NOTE, "radiographs": len(sources), "made_up": self.images is None}
        environment |= {**chosen(self, "png", "large", "size", "workers"), "large_jpeg_bytes": large_bytes}
        measured = as_json(environment, rows, ratios(rows, CONVERT_RATIOS))
        if self.tables and not self.only:
            measured["mimic_tables"] = measure_tables(self.tables, self.rounds)
        return measured

    def _prepare(self, sources: list[Path], folder: Path) -> Pictures:
        from benchmarks.common.prepare import repeat_files

        print(f"preparing {self.png:,} PNG and {self.large:,} large JPEG files", file=sys.stderr, flush=True)
        distinct = _write_large(sources[: min(DISTINCT_LARGE, self.large)], folder / "distinct")
        forms: dict[str, Any] = {"png": repeat_files(sources, folder / "png", self.png)}
        forms["jpeg"] = repeat_files(distinct, folder / "large", self.large)
        pictures = Pictures(
            folder=str(folder), beton="", jpeg_beton="", size=self.size, batch_size=1, workers=self.workers, **forms
        )
        pictures.write(folder / "pictures.json")
        return pictures


def _usable(sources: list[Path]) -> list[Path]:
    """Those that can be decoded, all of them in the page cache afterwards.

    Raises:
        InputError: if there is none.
    """
    from datasets.images import ImageError
    from datasets.images.decode import decode_gray

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


def _write_large(sources: list[Path], folder: Path) -> list[Path]:
    """Radiographs made larger, as gray JPEG at quality 95."""
    import cv2

    from datasets.images.decode import decode_gray

    folder.mkdir()
    written = [folder / f"{number:04d}.jpg" for number in range(len(sources))]
    for source, path in zip(sources, written, strict=True):
        large = cv2.resize(decode_gray(source), LARGE_SIDES, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), large, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return written
