"""Pages in memory and batches to be filled come in; the batches go out filled, by all threads of a loader."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from datasets.augment import Augment
from datasets.shared_copy import crew_of
from datasets.shared_work import SharedWork, begin_to_share, share, unowned
from datasets.warp import copy_batch, warp_batch


def copy_pages(pages: np.ndarray, offsets: np.ndarray, *out: torch.Tensor, num_threads: int) -> None:
    """Copy the pages at ``offsets`` (N,) of the bytes ``pages`` to the batches ``out``, (B, 1, S, S) uint8 each."""
    sources = offsets.astype(np.int64) + pages.ctypes.data
    copy_from(sources, *out, page_bytes=out[0].shape[-2] * out[0].shape[-1], num_threads=num_threads, held=pages)


def copy_from(sources: np.ndarray, *out: torch.Tensor, page_bytes: int, num_threads: int, held: object) -> None:
    """``copy_pages`` from addresses (N,) int64 in memory that ``held`` owns."""
    places = [_steps(len(batch), page_bytes) + batch.data_ptr() for batch in out]
    targets = np.concatenate(places) if len(places) > 1 else places[0]
    assert len(targets) == len(sources), "a page for each image"
    if not crew_of(num_threads).copy(sources, targets, page_bytes):
        # Another loader's thread has the crew at this moment.
        owners, count = (held, out), len(sources)
        share(copy_batch, sources, targets, page_bytes, count=count, num_threads=num_threads, held=owners)


@lru_cache(maxsize=8)
def _steps(num: int, size: int) -> np.ndarray:
    """0, ``size``, twice ``size`` and so on: (num,) int64."""
    steps = np.arange(num, dtype=np.int64) * size
    steps.flags.writeable = False
    return steps


def begin_to_warp(
    pages: np.ndarray,
    offsets: np.ndarray,
    samples: np.ndarray,
    out: torch.Tensor,
    key: np.uint64,
    augment: Augment,
    *,
    num_threads: int,
) -> SharedWork:
    """Begin to write the pages at ``offsets`` (B,), flipped and rotated as ``key`` and sample decide, to ``out``.

    ``pages`` are read-only bytes, since the kernel is compiled for those of a file.
    """
    ranges = float(augment.rotation_deg), float(augment.flip_probability)
    arguments = (unowned(pages), offsets, samples, unowned(out.numpy()), key, *ranges)
    return begin_to_share(warp_batch, *arguments, count=len(samples), num_threads=num_threads, held=(pages, out))
