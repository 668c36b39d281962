"""Decode JPEG pages of a mapped beton into a batch's memory with several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from datasets.errors import InputError
from datasets.images import ImageError
from datasets.images.jpeg import decode_page


class JpegPageDecoder:
    """Threads that decode the pages of one file; they end with this object."""

    def __init__(self, path: Path, *, num_threads: int) -> None:
        self.path = path
        self.num_threads = num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="jpeg-pages")

    def begin(
        self, data: np.ndarray, samples: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, out: np.ndarray
    ) -> Callable[[], None]:
        """Begin to decode pages in the background; the returned function waits until all are done.

        Args:
            data: the whole file as uint8.
            samples: (B,) sample indices, for error messages.
            offsets: (B,) where the JPEG of each sample begins in the file.
            sizes: (B,) bytes of each.
            out: (B, 1, S, S) uint8, C-contiguous.

        The returned function raises InputError for a damaged page or one of another size.
        """
        pages = out[:, 0]
        places = zip(samples.tolist(), offsets.tolist(), sizes.tolist(), pages, strict=True)

        def decode() -> None:
            for sample, offset, size, page in places:  # one iterator for all threads: each page is taken once
                try:
                    decode_page(data[offset : offset + size], page)
                except ImageError as error:
                    raise InputError(f"{self.path}: image {sample} is damaged ({error}); convert again") from error

        running = [self._threads.submit(decode) for _ in range(min(self.num_threads, len(samples)))]

        def finish() -> None:
            wait(running)
            for future in running:
                future.result()

        return finish
