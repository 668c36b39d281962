"""Treat new images as the converter treated the training images, by a value that is written beside the weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from datasets.beton.sidecar import Sidecar
from datasets.convert.pool import DecodePool
from datasets.convert.protocol import DECODER, DecodeSpec, Page, Reject
from datasets.errors import one_line
from datasets.images.jpeg import decode_jpeg
from datasets.loading.threads import usable_cores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Preprocessing(DecodeSpec):
    """What becomes of an image file before the network's last step, ``to_network_input``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    decoder: int = DECODER
    """Version of the code that reads image files; another one may give other pixels."""

    @classmethod
    def of(cls, sidecar: Sidecar) -> Preprocessing:
        """How the images of a beton were made."""
        settings = sidecar.settings
        return cls(
            size=sidecar.image_size,
            resize=settings["resize"],
            large_jpeg=settings["large_jpeg"],
            jpeg_quality=settings["quality"] if sidecar.encoding == "jpeg" else None,
            decoder=settings["decoder"],
        )

    @property
    def is_current(self) -> bool:
        """Whether this program's decoders give the pixels that the network was trained on."""
        return self.decoder == DECODER

    def pages(self, images: Sequence[Path], *, workers: int | None = None) -> Iterator[np.ndarray | Reject]:
        """The page (S, S) uint8 of each image file, or why there is none, in order; decoded by other processes."""
        count = min(len(images), workers or usable_cores())
        # A plain spec, so that the workers need not import this module.
        spec = DecodeSpec(
            size=self.size, resize=self.resize, large_jpeg=self.large_jpeg, jpeg_quality=self.jpeg_quality
        )
        with DecodePool(Path(), spec, workers=max(1, count)) as pool:
            for path, outcome in zip(images, pool.decode(str(path) for path in images), strict=True):
                if isinstance(outcome, Page) and outcome.warning:
                    logger.warning("%s: %s", one_line(path), outcome.warning)
                yield self._pixels(outcome) if isinstance(outcome, Page) else outcome

    def _pixels(self, page: Page) -> np.ndarray:
        if self.jpeg_quality is not None:
            return decode_jpeg(page.stored)
        return np.frombuffer(page.stored, dtype=np.uint8).reshape(self.size, self.size)

    def steps(self) -> dict[str, Any]:
        """Every step in words and numbers, for someone who has to write it anew."""
        cover = "; a JPEG far larger than the page is decoded at a reduced scale, its shorter side still twice SIZE"
        side = {
            "shorter": "the shorter side becomes SIZE pixels, the longer one int(SIZE * longer / shorter); then the "
            "centre is cropped, from offset round((side - SIZE) / 2), half to even",
            "squash": "both sides become SIZE pixels, whatever the image's proportions",
        }[self.resize]
        stored = "as 8-bit gray pixels"
        if self.jpeg_quality is not None:
            stored = f"as a gray baseline JPEG of quality {self.jpeg_quality} (libjpeg-turbo), decoded again"
        return {
            "gray": "8 bits; of a PNG or a colour DICOM the first channel, of a JPEG the luminance; 16-bit PNGs give "
            "their high byte; gray DICOMs: rescale slope and intercept, the first VOI window or LUT to 0..255 "
            "(without a usable one the image's own smallest and largest value, padding left aside), MONOCHROME1 and "
            "PresentationLUTShape INVERSE inverted; EXIF orientation undone",
            "resize": f"antialiased bilinear (triangle) filter, as Pillow's BILINEAR: {side}"
            + (cover if self.large_jpeg == "reduced" else ""),
            "page": f"{self.size} x {self.size} pixels, kept {stored}",
            "normalise": "x = (gray / 255 - mean) / std in each of three equal channels",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "channels": 3,
            "shape": ["batch", 3, self.size, self.size],
        }
