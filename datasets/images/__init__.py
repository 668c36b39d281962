"""Decode image files to 8-bit gray pixels and fit them to square pages."""

from __future__ import annotations

from datasets.errors import InputError


class ImageError(InputError):
    """An image that cannot be used; the message is the reason, without the file's name."""


class ImageWarning(UserWarning):
    """An image that is decoded, but perhaps not to what it was meant to show; the message is without its name."""
