"""JPEGs of one batch come in, their gray pixels on the device go out: nvJPEG's work on a GPU, libjpeg's on the CPU.

Which library offers it changes: torchvision's decoder is deprecated in favour of torchcodec's. Here alone either is
called.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from datasets.errors import InputError

DecodeList = Callable[[list[Tensor], torch.device], list[Tensor]]


def decode_on_device(jpegs: Sequence[Tensor], side: int, device: torch.device) -> Tensor:
    """Decode JPEGs, each (bytes,) uint8 on the host, to (B, 1, S, S) uint8 on ``device``.

    On CUDA the work is queued on the current stream. Its pixels may differ from the CPU decoder's by a gray level or
    two, since the JPEG standard leaves the rounding of the transform open.

    Raises:
        InputError: for one that does not decode, or is not ``side`` x ``side`` pixels.
    """
    try:
        images = _decoder()(list(jpegs), device)
    except RuntimeError as error:
        raise InputError(f"a JPEG of the batch is damaged ({error}); 'cxr inspect --verify' tells which") from error
    wrong = [tuple(image.shape) for image in images if image.shape != (1, side, side)]
    if wrong:
        raise InputError(f"a JPEG of the batch has shape {wrong[0]}, not (1, {side}, {side}); convert again")
    return torch.stack(images)


def can_decode(device: torch.device) -> bool:
    """Whether the installed libraries decode JPEGs on ``device``; says on standard error when they do not."""
    try:
        decode_on_device([torch.frombuffer(bytearray(_tiny_jpeg()), dtype=torch.uint8)], 8, device)
    except (InputError, ImportError, NotImplementedError) as error:
        print(f"JPEGs are decoded on the CPU: {device} cannot ({error})", file=sys.stderr)
        return False
    return True


def _tiny_jpeg() -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".jpg", np.zeros((8, 8), dtype=np.uint8))[1].tobytes()


@cache
def _decoder() -> DecodeList:
    """torchvision's function, as long as it has one; else torchcodec's of the same meaning.

    Raises:
        ImportError: when neither offers it.
    """
    try:
        return _of_torchvision()
    except ImportError:
        return _of_torchcodec()


def _of_torchvision() -> DecodeList:
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(jpegs: list[Tensor], device: torch.device) -> list[Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its deprecation, which this module is the answer to
            images: list[Tensor] = decode_jpeg(jpegs, mode=ImageReadMode.GRAY, device=device)
        return images

    return decode


def _of_torchcodec() -> DecodeList:
    decoders = importlib.import_module("torchcodec.decoders")
    try:
        decode_jpeg = decoders.decode_jpeg
    except AttributeError as error:
        raise ImportError("neither torchvision nor torchcodec decodes JPEGs here; torchcodec >= 0.16 does") from error

    def decode(jpegs: list[Tensor], device: torch.device) -> list[Tensor]:
        images: list[Tensor] = decode_jpeg(jpegs, mode="GRAY", device=device)
        return images

    return decode
