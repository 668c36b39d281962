"""Decode one image file to a page; imported by decode processes, so that the converter itself loads no decoder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.convert.protocol import DecodeSpec, Outcome, Page, Reject
from datasets.errors import one_line
from datasets.images import ImageError
from datasets.images.decode import decode_gray, decode_with_warnings
from datasets.images.jpeg import encode_page
from datasets.images.resize import fit
from datasets.malloc import malloc_tuning

WARM_UP_PX = 576


def decode_page(path: Path, spec: DecodeSpec) -> Outcome:
    """Decode one image file to the page that a beton stores, or say why it cannot be used."""
    try:
        pixels, told = decode_with_warnings(path, spec.at_least)
    except ImageError as error:
        return Reject(one_line(error))
    page = fit(pixels, spec.size, spec.resize)
    if page.min() == page.max() and pixels.min() < pixels.max():
        told.append(f"its page is of one gray value, {page.min()}, but its pixels are not")
    stored = encode_page(page, spec.jpeg_quality)
    return Page(stored, zlib.crc32(stored), hashlib.sha256(stored).digest(), one_line("; ".join(told)))


def warm_up() -> None:
    """Load libraries and compiled kernels once, so that processes forked from this one begin at once."""
    malloc_tuning()
    gray = np.add.outer(np.arange(WARM_UP_PX), np.arange(WARM_UP_PX)).astype(np.uint8)
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        # A fault of a decoder is reported with the first image, where it matters.
        with contextlib.suppress(Exception):
            Image.fromarray(gray).save(file, kind)
            for at_least in (WARM_UP_PX // 4, None):
                fit(decode_gray(file.getvalue(), at_least), WARM_UP_PX // 16)
