"""Write the betons of the science checks: two of phantoms, one of mere patterns.

The phantoms are ``cxr phantom``'s. The patterns are what an unrelated teacher learns from: sums of gratings in noise,
whose labels say which gratings are there. They share no shape, no label and no statistics with a radiograph.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common.prepare import file_records
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.phantom.write import write_phantom
from datasets.sources.records import Records, read_records
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

SIZE = 64
"""Side of all images in pixels."""
DRAWN_SIZE = 80
"""Shorter side of the phantoms before they are made smaller."""
PATIENTS = {"chexpert": 2500, "mimic_cxr": 1200, "chestxray14": 400}
"""Phantom patients for the students, the in-domain teacher, and the weights that students start from."""
PATTERNS = 2000
"""Images of the unrelated teacher."""
PATTERN_DATASET = "chestxray14_5.6k"
"""A beton bears the name of a dataset that configs know; the patterns take this one, which is free here."""
NUM_GRATINGS = 14
PRESENT, AMPLITUDE, NOISE = 0.3, (14.0, 34.0), 25.0
"""Probability of a grating; range of its amplitude and spread of the noise in gray levels."""


def prepare(folder: Path) -> None:
    """Write what is not there yet: ``DATASET.beton`` for the phantoms and the patterns."""
    for dataset in PATIENTS:
        prepare_phantoms(dataset, folder)
    if not (folder / f"{PATTERN_DATASET}.beton").exists():
        _convert(_pattern_records(folder / "patterns"), folder / f"{PATTERN_DATASET}.beton")


def prepare_phantoms(dataset: str, folder: Path) -> None:
    """Write ``DATASET.beton`` of phantoms, unless it is there."""
    if not (folder / f"{dataset}.beton").exists():
        options = {"patients": PATIENTS[dataset], "seed": 0, "size": DRAWN_SIZE, "workers": 1}
        (written,) = write_phantom(folder / "phantom", [dataset], **options)
        _convert(read_records(dataset, written.folder), folder / f"{dataset}.beton")


def _convert(records: Records, out: Path) -> None:
    splits = assign_splits(records, SplitConfig())
    ranks = subset_ranks(records.frame["name"], splits, seed=0)
    convert(records, splits, ranks, out, ConvertOptions(size=SIZE, workers=1))


def pattern(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image (S, S) uint8: noise, and a grating of orientation and wavelength of its own for each label."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    pixels = rng.normal(127.0, NOISE, (SIZE, SIZE))
    for number in np.flatnonzero(present):
        angle, wavelength = np.pi * (number % 7) / 7, 5.0 if number < 7 else 11.0
        phase = 2 * np.pi * (rng.random() + (x * np.cos(angle) + y * np.sin(angle)) / wavelength)
        pixels += rng.uniform(*AMPLITUDE) * np.sin(phase)
    return pixels.clip(0, 255).astype(np.uint8)


def _pattern_records(folder: Path) -> Records:
    """Draw the patterns; each image is a patient of its own."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    targets = (rng.random((PATTERNS, NUM_GRATINGS)) < PRESENT).astype(np.uint8)
    names = [f"{number:05d}.png" for number in range(PATTERNS)]
    for name, row in zip(names, targets, strict=True):
        Image.fromarray(pattern(row, rng)).save(folder / name)
    labels = [f"grating {number}" for number in range(NUM_GRATINGS)]
    return replace(file_records(PATTERN_DATASET, folder, names, targets, labels), phantom=True)
