"""Mirror, rotate, scale, crop, lighten and normalise gray pages on any device, with torch.

The same numbers as ``policy.draw`` and the same fixed-point arithmetic as ``datasets.augment.warp_cpu``,
written with torch: all pixels whose source lies inside the page are equal to the CPU kernel's, those on its
border within one gray level before contrast and brightness change. From the page to the three float
channels all is one function for ``torch.compile``; the one picture that it puts into memory on the way is the
augmented one, as bytes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from datasets.augment.counter_rng import FACTOR_1, FACTOR_2, GOLDEN, Purpose, stream_key
from datasets.augment.network_input import checked_images, scale_and_shift, to_network_input
from datasets.augment.policy import TONE_BITS, Augment, frame_and_tone

FRACTION_BITS = 20
"""Source coordinates are integers in units of 2**-20 px, as in ``datasets.augment.warp_cpu``."""
WEIGHT_BITS = 11
ONE = 1 << WEIGHT_BITS

logger = logging.getLogger(__name__)


def augmented_input(
    images: Tensor,
    indices: Tensor,
    *,
    seed: int,
    epoch: int,
    augment: Augment | None,
    dtype: torch.dtype = torch.float32,
    compiled: bool | None = None,
) -> Tensor:
    """Augment and normalise images (B, 1, S, S) uint8 to (B, 3, S, S) ``dtype`` in channels_last.

    ``indices`` (B,) int64 on the same device decide the augmentation with seed and epoch; without ``augment`` pixels
    stay as they are. The arithmetic is float32. ``compiled`` None runs ``torch.compile``'s kernel on CUDA alone.
    """
    checked_images(images)
    use_compiled = images.is_cuda if compiled is None else compiled
    scale, shift = scale_and_shift(images.device)
    with torch.no_grad():
        if augment is None:
            if not use_compiled:
                return to_network_input(images).to(dtype)
            return _compiled(_normalise)(_any_length(images), scale, shift, dtype)
        key, ranges = _stream(seed, epoch, augment, images.device)
        function = _compiled(_augment) if use_compiled else _augment
        return function(_any_length(images), _any_length(indices), key, ranges, scale, shift, dtype)


def draw_on_device(indices: Tensor, key: Tensor, ranges: Tensor) -> tuple[Tensor, ...]:
    """The numbers of ``policy.draw`` for samples (B,) int64: angles, flips, and frames and tones if there are any.

    ``key`` () int64 is the stream key of seed and epoch, ``ranges`` (2,) or (6,) float64 is ``Augment.ranges``.
    """
    words = _mix(indices ^ key)
    angles = ((2.0 * _uniform(words) - 1.0) * ranges[0]).float()
    words = _mix(words)
    flips = _uniform(words) < ranges[1]
    if len(ranges) == 2:
        return angles, flips
    drawn = []
    for _ in range(6):
        words = _mix(words)
        drawn.append(_uniform(words))
    frame, tone = frame_and_tone(drawn, *ranges[2:].unbind())
    return angles, flips, torch.stack(frame, dim=1), _rounded(torch.stack(tone, dim=1))


def _augment(
    images: Tensor, indices: Tensor, key: Tensor, ranges: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype
) -> Tensor:
    return _to_channels(_warp(images, *draw_on_device(indices, key, ranges)), scale, shift, dtype)


def _normalise(images: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    return _to_channels(images[:, 0], scale, shift, dtype)


def _to_channels(gray: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Gray levels (B, S, S) as normalised (B, 3, S, S) whose channels lie side by side in memory."""
    channels = gray.float()[..., None] * scale.view(3) + shift.view(3)
    return channels.to(dtype).permute(0, 3, 1, 2)


def _warp(
    images: Tensor, angles: Tensor, flips: Tensor, frames: Tensor | None = None, tones: Tensor | None = None
) -> Tensor:
    """Gray levels (B, S, S) uint8 of images (B, 1, S, S) uint8, augmented as drawn."""
    size = images.shape[-1]
    x, y = _source_coordinates(size, angles, flips, frames)
    column, row = x >> FRACTION_BITS, y >> FRACTION_BITS
    right, lower = (value >> (FRACTION_BITS - WEIGHT_BITS) & (ONE - 1) for value in (x, y))
    left_weight, right_weight = _inside(ONE - right, column, size), _inside(right, column + 1, size)
    upper_weight, lower_weight = _inside(ONE - lower, row, size), _inside(lower, row + 1, size)
    pixels = images.reshape(len(images), size * size)

    def line(at_row: Tensor) -> Tensor:
        start = at_row.clamp(0, size - 1) * size
        return left_weight * _pick(pixels, start + column.clamp(0, size - 1)) + right_weight * _pick(
            pixels, start + (column + 1).clamp(0, size - 1)
        )

    total = upper_weight * line(row) + lower_weight * line(row + 1)
    inside = (left_weight + right_weight) * (upper_weight + lower_weight)
    # Where all four neighbours are inside, ``inside`` is one; at the border torchvision weighs with it once more.
    gray = (total * inside + (1 << (4 * WEIGHT_BITS - 1))) >> (4 * WEIGHT_BITS)
    if tones is not None:
        factor, summand = (tones[:, column, None, None] for column in (0, 1))
        gray = ((factor * gray + summand + (1 << (TONE_BITS - 1))) >> TONE_BITS).clamp(0, 255)
    return gray.to(torch.uint8)


def _source_coordinates(size: int, angles: Tensor, flips: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where each output pixel comes from: x and y (B, S, S) int64 in units of 2**-20 px."""
    centre, unit = 0.5 * (size - 1), float(1 << FRACTION_BITS)
    radians = angles.double()[:, None] * (math.pi / 180.0)
    cos, sin = torch.cos(radians), torch.sin(radians)
    mirror = torch.where(flips, -1.0, 1.0).double()[:, None]
    place = torch.arange(size, device=angles.device)
    lines, first_column = place.double()[None] - centre, torch.full_like(cos, -centre)
    dx, dy = mirror * cos, -sin
    if frames is not None:
        side, right, below = (frames[:, column, None] for column in (0, 1, 2))
        lines, first_column = side * lines + size * below, size * right - side * centre
        dx, dy = dx * side, dy * side
    x = _rounded((centre + mirror * (sin * lines + cos * first_column)) * unit)
    y = _rounded((centre + cos * lines - sin * first_column) * unit)
    dx, dy = _rounded(dx * unit), _rounded(dy * unit)
    return x[:, :, None] + dx[:, :, None] * place, y[:, :, None] + dy[:, :, None] * place


def _rounded(values: Tensor) -> Tensor:
    return torch.round(values).long()


def _inside(weights: Tensor, places: Tensor, size: int) -> Tensor:
    """Weights of the places that lie within the page, 0 of the others."""
    return torch.where((places >= 0) & (places < size), weights, 0)


def _pick(pixels: Tensor, places: Tensor) -> Tensor:
    """Bytes (B, S, S) of rows (B, S * S) at ``places``, as int64."""
    return pixels.gather(1, places.flatten(1)).view(places.shape).long()


def _signed(word: int) -> int:
    """The same 64 bits as a signed number; torch has no unsigned arithmetic."""
    return word - (1 << 64) if word >= 1 << 63 else word


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Words shifted right with zeros coming in."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _mix(words: Tensor) -> Tensor:
    """``counter_rng.mix`` on int64, whose overflow keeps the same bits."""
    words = words + _signed(GOLDEN)
    words = (words ^ _shifted(words, 30)) * _signed(FACTOR_1)
    words = (words ^ _shifted(words, 27)) * _signed(FACTOR_2)
    return words ^ _shifted(words, 31)


def _uniform(words: Tensor) -> Tensor:
    return _shifted(words, 11).double() * 2.0**-53


@lru_cache(maxsize=8)
def _stream(seed: int, epoch: int, augment: Augment, device: torch.device) -> tuple[Tensor, Tensor]:
    """Key and ranges of an epoch on the device, so that its steps copy nothing."""
    with torch.inference_mode(False):
        key = torch.tensor(_signed(stream_key(seed, epoch, Purpose.AUGMENTATION)), device=device)
        ranges = torch.tensor(augment.ranges, dtype=torch.float64, device=device)
        return key, ranges


class _Compiled:
    """A function that is compiled when it is first called; where that fails, it runs as it is and logs so once."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._plain = function
        self._compiled: Callable[..., Tensor] | None = torch.compile(function, fullgraph=True)

    def __call__(self, *arguments: Any) -> Tensor:
        if self._compiled is not None:
            try:
                return self._compiled(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().splitlines()[0]
                logger.warning("images are augmented without torch.compile, slowly: %s", reason)
                self._compiled = None
        return self._plain(*arguments)


@cache
def _compiled(function: Callable[..., Tensor]) -> _Compiled:
    return _Compiled(function)


def _any_length(tensor: Tensor) -> Tensor:
    """Tell the compiler that batches differ in length, so that the last one of an epoch compiles nothing anew."""
    torch._dynamo.maybe_mark_dynamic(tensor, 0)
    return tensor
