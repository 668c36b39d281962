"""SPDL: threads instead of processes; each task makes a whole batch, so that the event loop has little to do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import spdl.io
import torch
from spdl.pipeline import PipelineBuilder

from benchmarks.common.pictures import FLIP_PROBABILITY, PREFETCH, ROTATION_DEG, Pictures
from benchmarks.peers.data_loader import endless_batches
from benchmarks.peers.pixels import fill_float_batch, normalise, start_worker


def batches(pictures: Pictures, *, pixels: Literal["ffmpeg", "opencv"]) -> Iterator[int]:
    """Decode, flip and rotate by one FFmpeg filter graph for each image, SPDL's own means, or by OpenCV."""
    if pixels == "opencv":
        start_worker()
    fill = _fill_by_ffmpeg if pixels == "ffmpeg" else fill_float_batch
    indices = endless_batches(len(pictures.jpeg), pictures.batch_size)
    paths = ([pictures.jpeg[index] for index in batch] for batch in indices)
    pipeline = (
        PipelineBuilder()
        .add_source(paths)
        .pipe(partial(_load, fill, pictures.size), concurrency=pictures.workers)
        .add_sink(PREFETCH)
        .build(num_threads=pictures.workers)
    )
    with pipeline.auto_stop():
        yield from (len(batch) for batch in pipeline.get_iterator())


def _load(fill: Callable[[list[str], np.ndarray], None], size: int, paths: list[str]) -> torch.Tensor:
    out = np.empty((len(paths), 3, size, size), dtype=np.float32)
    fill(paths, out)
    return torch.from_numpy(out)


def _fill_by_ffmpeg(paths: list[str], out: np.ndarray) -> None:
    for path, image in zip(paths, out, strict=True):
        frames = spdl.io.decode_packets(spdl.io.demux_image(path), filter_desc=_filters())
        normalise(spdl.io.to_numpy(spdl.io.convert_frames(frames))[..., 0], image)


def _filters() -> str:
    angle = math.radians(random.uniform(-ROTATION_DEG, ROTATION_DEG))
    flip = "hflip," if random.random() < FLIP_PROBABILITY else ""
    return f"format=pix_fmts=gray,{flip}rotate=a={angle:.6f}:bilinear=1:fillcolor=black"
