"""NVIDIA DALI: one pipeline from file to normalised batch, on the CPU, or from the decoder on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from benchmarks.common.data_loader import arrived
from benchmarks.common.pictures import MEAN, PREFETCH, STD, Pictures


def batches(pictures: Pictures, *, device: Literal["cpu", "gpu"], colour: Literal["RGB", "GRAY"]) -> Iterator[Tensor]:
    """Three channels from the decoder on, as DALI's examples have it, or one until the last step."""
    pipeline = _augmenting(
        pictures,
        device,
        getattr(types, colour),
        batch_size=pictures.batch_size,
        num_threads=pictures.workers,
        device_id=0 if device == "gpu" else None,
        prefetch_queue_depth=PREFETCH,
    )
    pipeline.build()
    return arrived(batch["images"] for (batch,) in DALIGenericIterator([pipeline], ["images"]))


@pipeline_def  # type: ignore[untyped-decorator]
def _augmenting(pictures: Pictures, device: str, colour: types.DALIImageType) -> Any:
    paths = list(pictures.jpeg)
    encoded, _ = fn.readers.file(files=paths, random_shuffle=True, initial_fill=len(paths), name="files")
    images = fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu", output_type=colour)
    angle = fn.random.uniform(range=pictures.angles)
    images = fn.rotate(images, angle=angle, interp_type=types.INTERP_LINEAR, keep_size=True, fill_value=0)
    mirror = fn.random.coin_flip(probability=pictures.flips)
    if colour == types.GRAY:
        images = fn.cat(images, images, images, axis=2)
    return fn.crop_mirror_normalize(
        images,
        mirror=mirror,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255.0 * value for value in MEAN],
        std=[255.0 * value for value in STD],
    )
