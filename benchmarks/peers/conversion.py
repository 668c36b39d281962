"""Conversion of image files to pages, whole passes: ours with all workers, and one process with Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pictures import Pictures

WARM_UP = 2
"""Files of the first, unmeasured pass."""


def ours_png(pictures: Pictures) -> Iterator[int]:
    """PNG files by the code of ``cxr convert``."""
    return _convert(pictures.png, pictures)


def ours_jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files by the code of ``cxr convert``."""
    return _convert(pictures.jpeg, pictures)


def pillow_png(pictures: Pictures) -> Iterator[int]:
    """PNG files by Pillow."""
    return _by_pillow(pictures.png, pictures)


def pillow_jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files by Pillow, decoded in full."""
    return _by_pillow(pictures.jpeg, pictures)


def _convert(files: Sequence[str], pictures: Pictures) -> Iterator[int]:
    from benchmarks.prepare import convert_files

    root, out = Path(files[0]).parent, Path(pictures.folder) / f"ours-{Path(files[0]).suffix[1:]}.beton"
    names = [Path(path).name for path in files]
    for some in _passes(names):
        convert_files(root, some, out, size=pictures.size, workers=pictures.workers)
        yield len(some)
        for path in out.parent.glob(f"{out.stem}.*"):
            path.unlink()


def _by_pillow(files: Sequence[str], pictures: Pictures) -> Iterator[int]:
    out = Path(pictures.folder) / f"pillow-{Path(files[0]).suffix[1:]}.pages"
    for some in _passes(files):
        with out.open("wb") as pages:
            for path in some:
                pages.write(_page(path, pictures.size).tobytes())
        yield len(some)


def _passes(files: Sequence[str]) -> Iterator[Sequence[str]]:
    yield files[:WARM_UP]
    while True:
        yield files


def _page(path: str, size: int) -> np.ndarray:
    """Shorter side to ``size`` px, then the centre: (S, S) uint8."""
    with Image.open(path) as image:
        gray = image.convert("L")
    scale = size / min(gray.size)
    scaled = gray.resize((round(gray.width * scale), round(gray.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size)))
