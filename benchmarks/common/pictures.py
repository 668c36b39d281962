"""What every contender reads and has to deliver, as one value that goes to its process as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ROTATION_DEG = 15.0
FLIP_PROBABILITY = 0.5
JPEG_QUALITY = 95
PREFETCH = 2
"""Finished batches per worker that a DataLoader keeps: PyTorch's default, and nobody gains from more here."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The same radiographs in the forms that the contenders take, and the shape of the batches."""

    folder: str
    """Where a contender may write a form of its own."""
    png: tuple[str, ...]
    """The original PNG files."""
    jpeg: tuple[str, ...]
    """The same as gray JPEG files of ``size`` x ``size`` at quality 95, repeated to the number of samples."""
    beton: str
    """The same samples as uint8 pages, made by ``cxr convert``'s code."""
    jpeg_beton: str
    """The same samples as gray JPEG bytes, made by the same code."""
    size: int
    batch_size: int
    workers: int
    angles: tuple[float, float] = (-ROTATION_DEG, ROTATION_DEG)
    """Least and greatest rotation in degrees; which of them turns clockwise is each contender's own affair."""
    flips: float = FLIP_PROBABILITY
    """Probability of mirroring left to right."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Pictures:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**raw, **{name: tuple(raw[name]) for name in ("png", "jpeg", "angles")}})
