"""A gray page comes in; the bytes that a beton stores of it go out."""

from __future__ import annotations

import cv2
import numpy as np

from datasets.images.jpeg import decode_jpeg


def encode_page(gray: np.ndarray, jpeg_quality: int | None) -> bytes:
    """The pixels (S, S) uint8 as they are, or as a gray baseline JPEG that has been decoded again as a proof.

    All JPEGs of one size and quality have the same header and Huffman codes, on which
    ``datasets.images.by_hand.gray_jpeg`` builds.

    Raises:
        RuntimeError: if the encoder fails or what it wrote does not decode.
    """
    if jpeg_quality is None:
        return gray.tobytes()
    done, encoded = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    jpeg = encoded.tobytes() if done else b""
    if not jpeg or decode_jpeg(jpeg).shape != gray.shape:
        raise RuntimeError(f"encoding a page of {gray.shape[1]} x {gray.shape[0]} pixels as JPEG failed")
    return jpeg
