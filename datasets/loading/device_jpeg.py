"""Decode the JPEGs of a batch on the device with torchcodec: nvJPEG on a GPU, libjpeg-turbo on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.errors import InputError
from datasets.images.jpeg import encode_page


def decode_on_device(jpegs: Sequence[Tensor], side: int, device: torch.device) -> Tensor:
    """Decode JPEGs, each (bytes,) uint8 on the host, to (B, 1, S, S) uint8 on ``device``.

    On CUDA the current stream does the work, in turn with all else that uses its memory, and the host waits for it;
    torchcodec does so from 0.17 on. The pixels may differ from the CPU decoder's by a gray level or two, since the
    JPEG standard leaves the rounding of the transform open.

    Raises:
        InputError: for one that does not decode, or is not ``side`` x ``side`` pixels.
        ImportError: if torchcodec cannot be loaded.
    """
    from torchcodec.decoders import decode_jpeg

    try:
        images: list[Tensor] = decode_jpeg(list(jpegs), mode="GRAY", device=device)
    except RuntimeError as error:
        raise InputError(f"a JPEG of the batch is damaged ({error}); 'cxr inspect --verify' tells which") from error
    wrong = [tuple(image.shape) for image in images if image.shape != (1, side, side)]
    if wrong:
        raise InputError(f"a JPEG of the batch has shape {wrong[0]}, not (1, {side}, {side}); convert again")
    return torch.stack(images)


def decoding_problem(device: torch.device) -> str:
    """Why JPEGs cannot be decoded on ``device``; empty if they can."""
    jpeg = bytearray(encode_page(np.zeros((8, 8), dtype=np.uint8), 95))
    try:
        decode_on_device([torch.frombuffer(jpeg, dtype=torch.uint8)], 8, device)
    except (InputError, ImportError, NotImplementedError, OSError, RuntimeError) as error:
        return f"JPEGs are decoded on the CPU: {device} cannot ({error})"
    return ""
