"""Paths of images come in through a pipe, pages or the reasons against them go out: what a decoding process does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np

from datasets.convert.fork_server import Recipe
from datasets.convert.pool import PAGE, REJECT
from datasets.images import ImageError
from datasets.images.decode import decode_gray
from datasets.images.jpeg import encode_page
from datasets.images.resize import fit
from datasets.malloc import keep_spare_memory

WARM_UP_PX = 576


def work(pipe: Connection, root: str, recipe: Recipe) -> None:
    """Answer each path until the other end closes the pipe or is gone."""
    while True:
        try:
            path = os.path.join(root, os.fsdecode(pipe.recv_bytes()))  # noqa: PTH118 (a path may hold odd bytes)
            pipe.send_bytes(answer(Path(path), recipe))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def answer(path: Path, recipe: Recipe) -> bytes:
    """What is sent back for one image."""
    try:
        gray = fit(decode_gray(path, recipe.at_least), recipe.size, recipe.resize)
        page = encode_page(gray, recipe.jpeg_quality)
    except ImageError as error:
        return REJECT + str(error).encode(errors="replace")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a fault that no decoder foresaw costs one image, not the conversion)
        return REJECT + f"the decoder failed on it ({type(error).__name__}: {error})".encode(errors="replace")
    return b"".join((PAGE, struct.pack("<I", zlib.crc32(page)), hashlib.sha256(page).digest(), page))


def warm_up() -> None:
    """Load libraries and compiled kernels once, so that processes forked from this one begin at once."""
    cv2.setNumThreads(0)
    keep_spare_memory()
    gray = np.add.outer(np.arange(WARM_UP_PX), np.arange(WARM_UP_PX)).astype(np.uint8)
    for kind in (".png", ".jpg"):
        # What is wrong with a decoder is said image by image, where it matters.
        with contextlib.suppress(Exception):
            fit(decode_gray(cv2.imencode(kind, gray)[1].tobytes(), WARM_UP_PX // 4), WARM_UP_PX // 16)
            fit(decode_gray(cv2.imencode(kind, gray)[1].tobytes()), WARM_UP_PX // 16)
