"""Conversion of image files to pages, each pass a process of its own: ours with all workers, or one with Pillow.

A process is started for each pass, so that the start of either side is part of what is measured.

Run as ``python -m benchmarks.peers.conversion {ours|pillow} FILES.json OUT SIZE WORKERS``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.common.pictures import Pictures

WARM_UP = 2
"""Files of the first, unmeasured pass."""


def ours_png(pictures: Pictures) -> Iterator[int]:
    """PNG files by the code of ``cxr convert``."""
    return _passes("ours", pictures.png, pictures)


def ours_jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files by the code of ``cxr convert``."""
    return _passes("ours", pictures.jpeg, pictures)


def pillow_png(pictures: Pictures) -> Iterator[int]:
    """PNG files by Pillow."""
    return _passes("pillow", pictures.png, pictures)


def pillow_jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files by Pillow, decoded in full."""
    return _passes("pillow", pictures.jpeg, pictures)


def _passes(which: str, files: Sequence[str], pictures: Pictures) -> Iterator[int]:
    """Convert the first few files, then all of them again and again; yields how many after each pass."""
    out = Path(pictures.folder) / f"{which}-{Path(files[0]).suffix[1:]}.beton"
    for some in _some_then_all(files):
        listed = out.with_suffix(".files.json")
        listed.write_text(json.dumps(list(some)))
        sizes = [str(pictures.size), str(pictures.workers)]
        subprocess.run([sys.executable, "-m", __name__, which, str(listed), str(out), *sizes], check=True)
        yield len(some)
        for path in out.parent.glob(f"{out.stem}.*"):
            path.unlink()


def _some_then_all(files: Sequence[str]) -> Iterator[Sequence[str]]:
    yield files[:WARM_UP]
    while True:
        yield files


def _by_us(files: Sequence[str], out: Path, size: int, workers: int) -> None:
    from datasets.convert.pool import start_fork_server

    start_fork_server()
    from benchmarks.common.prepare import convert_files

    convert_files(Path(files[0]).parent, [Path(path).name for path in files], out, size=size, workers=workers)


def _by_pillow(files: Sequence[str], out: Path, size: int) -> None:
    with out.open("wb") as pages:
        for path in files:
            pages.write(page(path, size))


def page(path: str, size: int) -> bytes:
    """Every pixel decoded, shorter side to ``size`` px, then the centre: S x S gray bytes."""
    from PIL import Image

    with Image.open(path) as image:
        gray = image.convert("L")
    scale = size / min(gray.size)
    scaled = gray.resize((round(gray.width * scale), round(gray.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return scaled.crop((left, top, left + size, top + size)).tobytes()


def main() -> None:
    """One pass over the files of a list."""
    which, listed, out, size, workers = sys.argv[1:]
    files = json.loads(Path(listed).read_text())
    if which == "ours":
        _by_us(files, Path(out), int(size), int(workers))
    else:
        _by_pillow(files, Path(out), int(size))


if __name__ == "__main__":
    main()
