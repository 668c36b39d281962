"""Messages between the converter and its decode processes: what to do with an image, and what became of it.

One image is one message each way, so that a process that dies is traced to the image it was decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

from datasets.images.resize import COVER, LargeJpeg, Resize

DECODER = 3
"""Version of the decoders; raised when the same file would give other pixels."""


@dataclass(frozen=True, kw_only=True)
class DecodeSpec:
    """How each image file becomes a page."""

    size: int
    """Side of the square page in pixels."""
    resize: Resize = "shorter"
    large_jpeg: LargeJpeg = "reduced"
    jpeg_quality: int | None = None
    """Quality of the gray JPEG that is stored; None stores the pixels."""

    @property
    def at_least(self) -> int | None:
        """Shorter side that a JPEG must keep when it is decoded at a reduced scale; None decodes it whole."""
        return COVER * self.size if self.large_jpeg == "reduced" else None


@dataclass(frozen=True)
class Page:
    """A decoded image as it is stored, S x S gray bytes or a gray JPEG, its checksums, and a warning about it."""

    stored: bytes
    crc32: int
    sha256: bytes
    warning: str = ""


@dataclass(frozen=True)
class Reject:
    """Why an image cannot be used."""

    reason: str


@dataclass(frozen=True)
class Fault:
    """What stopped a decode process though no image is to blame: an exception's words, and its traceback."""

    words: str
    details: str


Outcome = Page | Reject
