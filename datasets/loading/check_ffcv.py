"""Check that this machine's FFCV and numba write, read and cache what they should."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.sources.records import Records

NUM_IMAGES, SIDE = 4, 32


@dataclass(frozen=True, kw_only=True)
class FfcvFacts:
    """Findings of reading a beton of four images."""

    version: str
    same_pixels: bool
    """Whether the loader yields the pixels that were written."""
    kernel_cache: Path
    """Folder of numba's compiled kernels: by its settings, beside the code, or in the home folder."""
    cache_writable: bool


def check_ffcv() -> FfcvFacts:
    """Convert four made-up images, read them with FFCV's loader and compare.

    Raises:
        InputError: when the converter is not usable.
        ImportError, OSError: when FFCV or one of its libraries does not load.
    """
    from datasets.augment.warp_cpu import warp_batch

    with tempfile.TemporaryDirectory(prefix="cxr-doctor-") as name:
        beton, pages = _write(Path(name))
        read = _read(beton)
    folder = Path(warp_batch.stats.cache_path)  # type: ignore[attr-defined]
    return FfcvFacts(
        version=importlib.metadata.version("ffcv"),
        same_pixels=bool(np.array_equal(read, pages)),
        kernel_cache=folder,
        cache_writable=os.access(folder, os.W_OK),
    )


def _write(folder: Path) -> tuple[Beton, np.ndarray]:
    pages = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, SIDE, SIDE), dtype=np.uint8)
    names = [f"{number}.png" for number in range(NUM_IMAGES)]
    for file, page in zip(names, pages, strict=True):
        Image.fromarray(page).save(folder / file)
    frame = pd.DataFrame({"path": names, "name": names, "patient": names, "study": names})
    frame = frame.assign(view="frontal", official_split="", sex="F", age=pd.array([50] * NUM_IMAGES, "Int16"))
    records = Records(
        dataset="chexpert",
        root=folder,
        labels=("Edema",),
        frame=frame,
        targets=np.zeros((NUM_IMAGES, 1), dtype=np.uint8),
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )
    splits, ranks = np.full(NUM_IMAGES, "train"), np.arange(NUM_IMAGES)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress is of no interest here
        convert(records, splits, ranks, folder / "doctor.beton", ConvertOptions(size=SIDE, workers=1))
    return Beton.open(folder / "doctor.beton"), pages


def _read(beton: Beton) -> np.ndarray:
    from datasets.loading.options import LoaderOptions
    from datasets.loading.stream import BetonLoader

    options = LoaderOptions(batch_size=NUM_IMAGES, shuffle=False, num_workers=1)
    loader = BetonLoader(beton, np.arange(NUM_IMAGES), options, pin_memory=False)
    with loader.epoch(0) as batches:
        pages: np.ndarray = next(iter(batches)).images.numpy()[:, 0].copy()
    return pages
