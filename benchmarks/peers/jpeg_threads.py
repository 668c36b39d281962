"""JPEGs of the pages' size in one mapped file, decoded to gray by threads with one of the usual decoders.

What follows the decoder, where network input is asked for, is one OpenCV warp and a table look-up for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.common import pixels
from benchmarks.common.pictures import Pictures
from benchmarks.common.threads import filled


def batches(
    pictures: Pictures, *, by: Literal["opencv", "simplejpeg", "kornia", "torchcodec"], output: str = "uint8"
) -> Iterator[torch.Tensor]:
    """Batches (B, 1, S, S) uint8, decoded and no more, or ``float32`` network input (B, 3, S, S)."""
    files = _mapped(pictures)
    decode: Callable[[np.ndarray], np.ndarray] = globals()[f"_{by}"]()

    def as_input(index: int, out: np.ndarray) -> None:
        pixels.normalise(pixels.warped(decode(files[index]), pictures), out)

    def as_page(index: int, out: np.ndarray) -> None:
        out[0] = decode(files[index])

    floats = output == "float32"
    return filled(pictures, as_input if floats else as_page, floats=floats)


def _mapped(pictures: Pictures) -> list[np.ndarray]:
    """The bytes of each file, mapped from all of them one after another."""
    path = Path(pictures.folder) / "jpegs.bin"
    sizes = [Path(name).stat().st_size for name in pictures.jpeg]
    if not path.exists():
        path.write_bytes(b"".join(Path(name).read_bytes() for name in pictures.jpeg))
    # Copied on a write that never comes, since torch warns of memory that cannot be written.
    return np.split(np.memmap(path, mode="c").view(np.ndarray), np.cumsum(sizes)[:-1])


def _opencv() -> Callable[[np.ndarray], np.ndarray]:
    return pixels.decoded


def _simplejpeg() -> Callable[[np.ndarray], np.ndarray]:
    import simplejpeg

    return lambda data: simplejpeg.decode_jpeg(data, "GRAY")[..., 0]


def _kornia() -> Callable[[np.ndarray], np.ndarray]:
    from kornia_rs import io

    return lambda data: io.decode_image_jpegturbo(data.tobytes(), "mono")[..., 0]


def _torchcodec() -> Callable[[np.ndarray], np.ndarray]:
    from torchcodec.decoders import decode_jpeg

    return lambda data: decode_jpeg(torch.from_numpy(data), mode="GRAY").numpy()[0]
