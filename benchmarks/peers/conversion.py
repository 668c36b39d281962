"""Conversion of image files to pages: ours, and the usual decoders around a filter of the same pixels.

Each pass is a process of its own, so that its start is part of what is measured, and has as many cores as processes
that decode. Run as ``python -m benchmarks.peers.conversion BY FORM FILES.json OUT SIZE PROCESSES``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from benchmarks.common.pictures import Pictures

WARM_UP = 2
"""Files of the first, unmeasured pass."""
CHUNK = 8
"""Files that a process of a pool takes at once."""
COVER = 2
"""A JPEG that is decoded at a reduced scale keeps this many times the page's side, in ours and in peers."""
GRAY_8 = 0x0800
"""Bit depth and colour type in a PNG's header; kornia-rs refuses others as gray, which are left to Pillow."""
OPENCV_SCALE = 4
"""OpenCV is told the scale: the least of its scales that keeps ``COVER`` pages of 256 px in 2544."""


def batches(pictures: Pictures, *, by: str, form: str, processes: str) -> Iterator[int]:
    """Convert the first few files, then all of them again and again; yields how many after each pass.

    Args:
        pictures: the files, in ``png`` or ``jpeg``.
        by: ``ours`` or one of ``DECODERS``.
        form: ``png``, ``full`` (JPEG, all pixels) or ``reduced`` (JPEG at a reduced scale).
        processes: ``one``, or ``all`` workers.
    """
    files: Sequence[str] = pictures.png if form == "png" else pictures.jpeg
    count = 1 if processes == "one" else pictures.workers
    out = Path(pictures.folder) / f"{by}-{form}-{processes}.beton"
    for some in chain([files[:WARM_UP]], repeat(files)):
        listed = out.with_suffix(".files.json")
        listed.write_text(json.dumps(list(some)))
        arguments = [by, form, str(listed), str(out), str(pictures.size), str(count)]
        subprocess.run([sys.executable, "-m", __name__, *arguments], check=True)
        yield len(some)
        for path in out.parent.glob(f"{out.stem}.*"):
            path.unlink()


def _pillow(path: str, form: str, least: int) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        if form == "reduced":
            image.draft("L", (least, least))
        return np.asarray(image.convert("L"))


def _kornia(path: str, form: str, least: int) -> np.ndarray:
    from kornia_rs import io

    data = Path(path).read_bytes()
    if form != "png":
        return np.asarray(io.decode_image_jpegturbo(data, "mono"))[..., 0]
    width, height, depth_and_colour = struct.unpack_from(">IIH", data, 16)
    if depth_and_colour != GRAY_8:
        return _pillow(path, form, least)
    return np.asarray(io.decode_image_png_u8(data, (height, width), "mono"))[..., 0]


def _simplejpeg(path: str, form: str, least: int) -> np.ndarray:
    import simplejpeg

    scaled = {"min_height": least, "min_width": least} if form == "reduced" else {}
    return np.asarray(simplejpeg.decode_jpeg(Path(path).read_bytes(), "GRAY", **scaled))[..., 0]


def _opencv(path: str, form: str, least: int) -> np.ndarray:
    import cv2

    cv2.setNumThreads(0)
    reduced = getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{OPENCV_SCALE}")
    image = cv2.imread(path, reduced if form == "reduced" else cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.asarray(image)


def _torchcodec(path: str, form: str, least: int) -> np.ndarray:
    import torch
    from torchcodec.decoders import decode_jpeg, decode_png

    torch.set_num_threads(1)
    decoded: np.ndarray = (decode_png if form == "png" else decode_jpeg)(path, mode="GRAY").numpy()[0]
    return decoded


def _area(path: str, form: str, least: int) -> np.ndarray:
    """The fastest decoder of each form; ``fit`` takes another filter for it."""
    return _kornia(path, form, least) if form == "png" else _simplejpeg(path, form, least)


DECODERS: dict[str, Callable[[str, str, int], np.ndarray]] = {
    "pillow": _pillow,
    "kornia": _kornia,
    "simplejpeg": _simplejpeg,
    "opencv": _opencv,
    "torchcodec": _torchcodec,
    "area": _area,
}
"""Path, form and least side to gray (H, W) uint8."""


def page(path: str, by: str, form: str, size: int) -> bytes:
    """Decoded, shorter side to ``size`` px, then the centre: S x S gray bytes.

    The filter is Pillow's antialiased triangle; torchcodec's users have torch's, which gives the same pixels.
    ``area`` takes OpenCV's area filter, which is faster and gives others.
    """
    gray = DECODERS[by](path, form, COVER * size)
    height, width = gray.shape
    shape = (int(size * height / min(gray.shape)), int(size * width / min(gray.shape)))
    top, left = (round((side - size) / 2) for side in shape)
    return _scaled(gray, shape, by)[top : top + size, left : left + size].tobytes()


def _scaled(gray: np.ndarray, shape: tuple[int, int], by: str) -> np.ndarray:
    if by == "torchcodec":
        import torch

        image = torch.from_numpy(gray)[None, None]
        return torch.nn.functional.interpolate(image, shape, mode="bilinear", antialias=True)[0, 0].numpy()
    if by == "area":
        import cv2

        return np.asarray(cv2.resize(gray, shape[::-1], interpolation=cv2.INTER_AREA))
    from PIL import Image

    return np.asarray(Image.fromarray(gray).resize(shape[::-1], Image.Resampling.BILINEAR))


def write_pages(files: Sequence[str], out: Path, *, by: str, form: str, size: int, processes: int) -> None:
    """Write the pages of a peer one after another; more than one process is a pool, which is handed chunks."""
    paged = partial(page, by=by, form=form, size=size)
    with out.open("wb") as pages:
        if processes == 1:
            pages.writelines(map(paged, files))
            return
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            pages.writelines(pool.imap(paged, files, chunksize=CHUNK))


def main() -> None:
    """One pass over the files of a list."""
    by, form, listed, out, size, processes = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(processes)])
    files = json.loads(Path(listed).read_text())
    if by != "ours":
        write_pages(files, Path(out), by=by, form=form, size=int(size), processes=int(processes))
        return
    from datasets.convert.pool import start_fork_server

    start_fork_server()
    from benchmarks.common.prepare import convert_files

    scale = "reduced" if form == "reduced" else "full"
    convert_files(files, Path(out), size=int(size), workers=int(processes), large_jpeg=scale)


if __name__ == "__main__":
    main()
