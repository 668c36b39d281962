"""TurboLoader: JPEGs in a tar by its fused pass, which cannot rotate; by its transforms, which can; its raw pages.

The last are RGB, decoded once and mapped ("TBL-RAW", what its documents recommend for many epochs), and flipped.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal

import turboloader

from benchmarks.common.pictures import Pictures
from benchmarks.common.timing import EPOCH_STARTS


def batches(pictures: Pictures, *, by: Literal["fused", "transforms", "raw"]) -> Iterator[Any]:
    """Network input (B, 3, S, S) float32; of the three only ``transforms`` flips and rotates."""
    tar, pages = (str(Path(pictures.folder) / f"turbo-{by}.{form}") for form in ("tar", "tbl"))
    with tarfile.open(tar, "w") as archive:
        for path in pictures.jpeg:
            archive.add(path, Path(path).name)
    shared: dict[str, Any] = {"batch_size": pictures.batch_size, "shuffle": True, "drop_last": True}
    normalised = turboloader.ImageNetNormalize()
    if by == "raw":
        turboloader.preprocess_to_tbl(tar, pages, image_size=pictures.size, num_workers=pictures.workers)
        loader = turboloader.TblRawImageLoader(pages, hflip_prob=pictures.flips, **shared)
    else:
        flip = turboloader.RandomHorizontalFlip(pictures.flips)
        steps = [flip, turboloader.RandomRotation(max(pictures.angles)), normalised]
        loader = turboloader.DataLoader(
            tar,
            num_workers=pictures.workers,
            image_size=pictures.size,
            output_format="pytorch",
            transform=normalised if by == "fused" else turboloader.Compose(steps),
            **shared,
        )
    for epoch in count():
        loader.set_epoch(epoch)
        yield EPOCH_STARTS
        yield from (images for images, _ in loader)
