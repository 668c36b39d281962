"""Write the same radiographs in every form that contenders read.

Without a folder the radiographs are made up (``datasets.phantom``), so that the command runs anywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.pictures import JPEG_QUALITY, Pictures
from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.sources.records import Records

PHANTOM_PATIENTS, PHANTOM_SIZE = 60, 1024
LABELS = tuple(f"label {number}" for number in range(14))
PNG_COMPRESSION = 1


def source_pngs(images: Path | None, folder: Path, *, limit: int, size: int = PHANTOM_SIZE) -> list[Path]:
    """The first ``limit`` PNG files below ``images``, or made-up ones of ``size`` px written below ``folder``.

    Raises:
        InputError: if there is no PNG.
    """
    if images is None:
        from datasets.phantom.write import write_phantom

        patients = max(5, min(PHANTOM_PATIENTS, limit))
        write_phantom(folder / "phantom", ["chestxray14"], patients=patients, seed=0, size=size, workers=None)
        images = folder / "phantom"
    found = sorted(path.resolve() for path in images.rglob("*") if path.suffix.lower() == ".png")
    if not found:
        raise InputError(f"{images}: no PNG file below it; --images takes a folder of radiographs as PNG")
    return found[:limit]


def file_records(
    dataset: str, root: Path, names: Sequence[str], targets: np.ndarray, labels: Sequence[str]
) -> Records:
    """Records of image files without tables: each its own patient."""
    numbers = [Path(name).stem for name in names]
    frame = pd.DataFrame({"path": names, "name": names, "patient": numbers, "study": numbers})
    frame = frame.assign(view="frontal", official_split="", sex="F", age=pd.array([50] * len(names), dtype="Int16"))
    return Records(
        dataset=dataset,
        root=root,
        labels=tuple(labels),
        frame=frame,
        targets=targets,
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )


def convert_files(paths: Sequence[str], out: Path, *, size: int, workers: int, **more: Any) -> Beton:
    """Convert files of one folder, as ``cxr convert`` does, whatever has to be rejected; none has a finding."""
    targets = np.zeros((len(paths), len(LABELS)), dtype=np.uint8)
    records = file_records("chestxray14", Path(paths[0]).parent, [Path(path).name for path in paths], targets, LABELS)
    options = ConvertOptions(size=size, workers=workers, max_rejects=1.0, **more)
    convert(records, np.full(len(paths), "train"), np.arange(len(paths)), out, options)
    return Beton.open(out)


def repeat_files(files: Sequence[Path], folder: Path, count: int) -> tuple[str, ...]:
    """``count`` paths in ``folder`` that stand for ``files`` in turn, as links where the disk has them; sorted."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        source = files[number % len(files)]
        paths.append(folder / f"{number:07d}{source.suffix.lower()}")
        try:
            os.link(source, paths[-1])
        except OSError:
            paths[-1].symlink_to(source)
    return tuple(map(str, paths))


def prepare(images: Path | None, folder: Path, *, samples: int, size: int, batch_size: int, workers: int) -> Pictures:
    """Write every form of the radiographs below ``folder``, and ``pictures.json``; all are in the page cache then.

    Raises:
        InputError: if there is no PNG, or none that can be used.
    """
    import cv2

    sources = source_pngs(images, folder, limit=samples)
    print(f"preparing {samples:,} samples of {len(sources):,} radiographs", file=sys.stderr, flush=True)
    made: dict[str, Any] = {"size": size, "workers": workers}
    links = repeat_files(sources, folder / "original", len(sources))
    originals = convert_files(links, folder / "originals.beton", **made)
    used = [str(folder / "original" / name) for name in originals.samples["path"]]
    jpeg, distinct = folder / "jpeg", folder / "distinct"
    jpeg.mkdir()
    distinct.mkdir()
    for number in range(len(used)):
        page = originals.page(number)
        cv2.imwrite(str(distinct / f"{number:07d}.png"), page, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
        data = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        for copy in range(number, samples, len(used)):
            (jpeg / f"{copy:07d}.jpg").write_bytes(data)
    png = repeat_files(sorted(distinct.iterdir()), folder / "png", samples)
    pictures = Pictures(
        folder=str(folder),
        png=tuple(used),
        jpeg=tuple(str(jpeg / f"{number:07d}.jpg") for number in range(samples)),
        beton=str(convert_files(png, folder / "pages.beton", **made).path),
        jpeg_beton=str(convert_files(png, folder / "jpeg.beton", encoding="jpeg", **made).path),
        batch_size=batch_size,
        **made,
    )
    pictures.write(folder / "pictures.json")
    return pictures
