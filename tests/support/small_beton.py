"""A small beton of made-up pages, made by the project's own converter, for the loader's tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from datasets.beton.format import Encoding
from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.sources.records import Records


def small_pages(num_samples: int, image_size: int) -> np.ndarray:
    """(N, S, S) uint8: smooth waves with noise on top, a different picture for each sample."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:image_size, 0:image_size] / image_size
    phase = rng.uniform(0, 6, (num_samples, 2, 1, 1))
    waves = 128 + 60 * np.sin(9 * x + phase[:, 0]) + 40 * np.cos(7 * y + phase[:, 1])
    return np.clip(waves + rng.normal(0, 8, waves.shape), 0, 255).astype(np.uint8)


def small_targets(num_samples: int) -> np.ndarray:
    return np.random.default_rng(8).choice([0, 1, 255], (num_samples, 3)).astype(np.uint8)


def write_small_beton(folder: Path, num_samples: int, image_size: int = 32, *, encoding: Encoding = "raw") -> Beton:
    """Sample i holds page i of ``small_pages``, or its JPEG, and row i of ``small_targets``."""
    names = [f"{index:05d}.png" for index in range(num_samples)]
    for name, page in zip(names, small_pages(num_samples, image_size), strict=True):
        cv2.imwrite(str(folder / name), page)
    frame = pd.DataFrame({"path": names, "name": names, "patient": names, "study": names})
    frame = frame.assign(view="frontal", official_split="", sex="F", age=pd.array([50] * num_samples, dtype="Int16"))
    records = Records(
        dataset="chexpert",
        root=folder,
        labels=("Edema", "Fracture", "Pneumonia"),
        frame=frame,
        targets=small_targets(num_samples),
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )
    splits, ranks = np.full(num_samples, "train"), np.arange(num_samples)
    convert(
        records, splits, ranks, folder / "small.beton", ConvertOptions(size=image_size, workers=1, encoding=encoding)
    )
    return Beton.open(folder / "small.beton")
