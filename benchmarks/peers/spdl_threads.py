"""SPDL on JPEG files: threads instead of processes; decoding, flip and rotation by its own FFmpeg, or by OpenCV."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from benchmarks.common.pictures import Pictures
from benchmarks.common.pixels import decoded, normalise, read, warped
from benchmarks.common.threads import filled


def batches(pictures: Pictures, *, pixels: Literal["ffmpeg", "opencv"]) -> Iterator[torch.Tensor]:
    """Network input (B, 3, S, S) float32."""

    def by_opencv(index: int, out: np.ndarray) -> None:
        normalise(warped(decoded(read(pictures.jpeg[index])), pictures), out)

    def by_ffmpeg(index: int, out: np.ndarray) -> None:
        import spdl.io

        frames = spdl.io.decode_packets(spdl.io.demux_image(pictures.jpeg[index]), filter_desc=_filters(pictures))
        normalise(spdl.io.to_numpy(spdl.io.convert_frames(frames))[..., 0], out)

    return filled(pictures, by_ffmpeg if pixels == "ffmpeg" else by_opencv, floats=True, pool="spdl")


def _filters(pictures: Pictures) -> str:
    """One filter graph for each image."""
    angle = math.radians(random.uniform(*pictures.angles))
    flip = "hflip," if random.random() < pictures.flips else ""
    return f"format=pix_fmts=gray,{flip}rotate=a={angle:.6f}:bilinear=1:fillcolor=none"
