"""Decode, augment and normalise with OpenCV, as several peers do."""

from __future__ import annotations

import math
import random
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.common.pictures import FLIP_PROBABILITY, MEAN, ROTATION_DEG, STD

SCALE = (1.0 / (255.0 * np.asarray(STD))).astype(np.float32)
SHIFT = (-np.asarray(MEAN) / np.asarray(STD)).astype(np.float32)
TABLE = (np.arange(256, dtype=np.float32)[:, None] * SCALE + SHIFT)[None]
"""Network input by gray value and channel, (1, 256, 3) float32, as ``cv2.LUT`` takes it."""
FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def start_worker(_: int = 0) -> None:
    """One thread a process: the processes are the parallelism."""
    cv2.setNumThreads(0)


def read(path: str) -> np.ndarray:
    """The bytes of a file."""
    return np.fromfile(Path(path), dtype=np.uint8)


def augmented(data: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """JPEG bytes as (S, S) uint8: decoded as gray, flipped and rotated in one warp."""
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return warped(image, size, out)


def warped(image: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """A gray image (S, S) uint8, flipped and rotated at random in one warp."""
    angle = math.radians(random.uniform(-ROTATION_DEG, ROTATION_DEG))
    mirror = -1.0 if random.random() < FLIP_PROBABILITY else 1.0
    cos, sin, centre = math.cos(angle), math.sin(angle), (size - 1) / 2
    matrix = np.array(
        [
            [mirror * cos, mirror * sin, centre - mirror * (cos + sin) * centre],
            [-sin, cos, centre + (sin - cos) * centre],
        ]
    )
    done: np.ndarray = cv2.warpAffine(image, matrix, (size, size), dst=out, flags=FLAGS)
    return done


def normalise(gray: np.ndarray, out: np.ndarray) -> None:
    """Write gray (S, S) uint8 to ``out`` (3, S, S) float32, normalised; of the usual ways NumPy's is the fastest."""
    values = gray.astype(np.float32)
    for channel, scale, shift in zip(out, SCALE, SHIFT, strict=True):
        np.multiply(values, scale, out=channel)
        channel += shift


def fill_channels_last(pages: np.ndarray, out: np.ndarray) -> None:
    """Pages (B, S, S) uint8 as augmented network input, written to ``out`` (B, S, S, 3) float32 by table look-up."""
    for page, image in zip(pages, out, strict=True):
        cv2.LUT(cv2.cvtColor(warped(page, page.shape[0]), cv2.COLOR_GRAY2RGB), TABLE, dst=image)


def float_sample(data: np.ndarray, size: int) -> torch.Tensor:
    """JPEG bytes as an augmented, normalised (3, S, S) float32 tensor."""
    out = np.empty((3, size, size), dtype=np.float32)
    normalise(augmented(data, size), out)
    return torch.from_numpy(out)


def fill_float_batch(paths: list[str], out: np.ndarray) -> None:
    """JPEG files to ``out`` (B, 3, S, S) float32."""
    for path, image in zip(paths, out, strict=True):
        normalise(augmented(read(path), out.shape[-1]), image)
