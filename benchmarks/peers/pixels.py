"""What peers with OpenCV share: the bytes of a JPEG come in, augmented gray or normalised float pixels go out."""

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
    angle = math.radians(random.uniform(-ROTATION_DEG, ROTATION_DEG))
    mirror = -1.0 if random.random() < FLIP_PROBABILITY else 1.0
    cos, sin, centre = math.cos(angle), math.sin(angle), (size - 1) / 2
    matrix = np.array(
        [
            [mirror * cos, mirror * sin, centre - mirror * (cos + sin) * centre],
            [-sin, cos, centre + (sin - cos) * centre],
        ]
    )
    warped: np.ndarray = cv2.warpAffine(image, matrix, (size, size), dst=out, flags=FLAGS)
    return warped


def normalise(gray: np.ndarray, out: np.ndarray) -> None:
    """Write gray (S, S) uint8 to ``out`` (3, S, S) float32, normalised; of the usual ways NumPy's is the fastest."""
    values = gray.astype(np.float32)
    for channel, scale, shift in zip(out, SCALE, SHIFT, strict=True):
        np.multiply(values, scale, out=channel)
        channel += shift


def float_sample(data: np.ndarray, size: int) -> torch.Tensor:
    """JPEG bytes as an augmented, normalised (3, S, S) float32 tensor."""
    out = np.empty((3, size, size), dtype=np.float32)
    normalise(augmented(data, size), out)
    return torch.from_numpy(out)


def fill_float_batch(paths: list[str], out: np.ndarray) -> None:
    """JPEG files to ``out`` (B, 3, S, S) float32."""
    for path, image in zip(paths, out, strict=True):
        normalise(augmented(read(path), out.shape[-1]), image)
