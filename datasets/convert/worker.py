"""Decode one image file to a page; imported by decode processes, so that the converter itself loads no decoder."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from pathlib import Path

import cv2
import numpy as np

from datasets.convert.protocol import DecodeSpec, Outcome, Page, Reject
from datasets.images import ImageError
from datasets.images.decode import decode_gray
from datasets.images.jpeg import encode_page
from datasets.images.resize import fit
from datasets.malloc import malloc_tuning

WARM_UP_PX = 576


def decode_page(path: Path, spec: DecodeSpec) -> Outcome:
    """Decode one image file to the page that a beton stores, or say why it cannot be used."""
    try:
        gray = fit(decode_gray(path, spec.at_least), spec.size, spec.resize)
        stored = encode_page(gray, spec.jpeg_quality)
    except ImageError as error:
        return _reject(str(error))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a fault that no decoder foresaw costs one image, not the conversion)
        return _reject(f"the decoder failed on it ({type(error).__name__}: {error})")
    return Page(stored, zlib.crc32(stored), hashlib.sha256(stored).digest())


def _reject(reason: str) -> Reject:
    """A reject whose text can be printed and written whatever bytes a file name holds."""
    return Reject(reason.encode(errors="replace").decode())


def warm_up() -> None:
    """Load libraries and compiled kernels once, so that processes forked from this one begin at once."""
    cv2.setNumThreads(0)
    malloc_tuning()
    gray = np.add.outer(np.arange(WARM_UP_PX), np.arange(WARM_UP_PX)).astype(np.uint8)
    for kind in (".png", ".jpg"):
        # A fault of a decoder is reported image by image, where it matters.
        with contextlib.suppress(Exception):
            fit(decode_gray(cv2.imencode(kind, gray)[1].tobytes(), WARM_UP_PX // 4), WARM_UP_PX // 16)
            fit(decode_gray(cv2.imencode(kind, gray)[1].tobytes()), WARM_UP_PX // 16)
