"""Decode, augment and normalise with OpenCV, as several peers do."""

from __future__ import annotations

import math
import random

import cv2
import numpy as np
import torch

from benchmarks.common.pictures import MEAN, STD, Pictures

LEVELS = np.arange(256, dtype=np.float32)
TABLES = [(LEVELS / 255.0 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
"""Network input by gray value, (256,) float32 for each channel: the fastest of the usual ways to normalise."""
FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def start_worker(_: int = 0) -> None:
    """One thread a worker: the workers are the parallelism."""
    cv2.setNumThreads(0)


def read(path: str) -> np.ndarray:
    """The bytes of a file."""
    return np.fromfile(path, dtype=np.uint8)


def decoded(data: np.ndarray) -> np.ndarray:
    """JPEG bytes as a gray image (S, S) uint8."""
    image: np.ndarray | None = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert image is not None, "the benchmark wrote these files itself"
    return image


def warped(image: np.ndarray, pictures: Pictures, out: np.ndarray | None = None) -> np.ndarray:
    """A gray image (S, S) uint8, flipped and rotated at random in one warp."""
    angle = math.radians(random.uniform(*pictures.angles))
    mirror = -1.0 if random.random() < pictures.flips else 1.0
    cos, sin, centre = math.cos(angle), math.sin(angle), (pictures.size - 1) / 2
    matrix = np.array(
        [
            [mirror * cos, mirror * sin, centre - mirror * (cos + sin) * centre],
            [-sin, cos, centre + (sin - cos) * centre],
        ]
    )
    done: np.ndarray = cv2.warpAffine(image, matrix, image.shape, dst=out, flags=FLAGS)
    return done


def normalise(gray: np.ndarray, out: np.ndarray) -> None:
    """Write gray (S, S) uint8 to ``out`` (3, S, S) float32, normalised."""
    for channel, table in zip(out, TABLES, strict=True):
        cv2.LUT(gray, table, dst=channel)


def float_sample(data: np.ndarray, pictures: Pictures) -> torch.Tensor:
    """JPEG bytes as an augmented, normalised (3, S, S) float32 tensor."""
    out = np.empty((3, pictures.size, pictures.size), dtype=np.float32)
    normalise(warped(decoded(data), pictures), out)
    return torch.from_numpy(out)
