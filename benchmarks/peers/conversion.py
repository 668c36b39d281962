"""Conversion of image files to pages, each pass a process of its own: ours with all workers, or one with Pillow.

A process is started for each pass, so that the start of either side is part of what is measured.

Run as ``python -m benchmarks.peers.conversion {ours|pillow} FILES.json OUT SIZE WORKERS``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Literal

from benchmarks.common.pictures import Pictures

WARM_UP = 2
"""Files of the first, unmeasured pass."""


def batches(pictures: Pictures, *, by: Literal["ours", "pillow"], form: Literal["png", "jpeg"]) -> Iterator[int]:
    """Convert the first few files, then all of them again and again; yields how many after each pass."""
    files: Sequence[str] = getattr(pictures, form)
    out = Path(pictures.folder) / f"{by}-{form}.beton"
    for some in chain([files[:WARM_UP]], repeat(files)):
        listed = out.with_suffix(".files.json")
        listed.write_text(json.dumps(list(some)))
        sizes = [str(pictures.size), str(pictures.workers)]
        subprocess.run([sys.executable, "-m", __name__, by, str(listed), str(out), *sizes], check=True)
        yield len(some)
        for path in out.parent.glob(f"{out.stem}.*"):
            path.unlink()


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
    by, listed, out, size, workers = sys.argv[1:]
    files = json.loads(Path(listed).read_text())
    if by == "ours":
        from datasets.convert.pool import start_fork_server

        start_fork_server()
        from benchmarks.common.prepare import convert_files

        convert_files(files, Path(out), size=int(size), workers=int(workers))
        return
    with Path(out).open("wb") as pages:
        for path in files:
            pages.write(page(path, int(size)))


if __name__ == "__main__":
    main()
