"""Pages in memory and batches to be filled come in; the batches go out filled, by all threads of a loader."""

from __future__ import annotations

import numpy as np
import torch

from datasets.augment.policy import Augment
from datasets.augment.warp_cpu import warp_batch
from datasets.kernels.shared_copy import crew_of
from datasets.kernels.shared_work import SharedWork, begin_to_share, unowned


def copy_pages(pages: np.ndarray, offsets: np.ndarray, out: torch.Tensor, *, num_threads: int) -> None:
    """Copy the pages at ``offsets`` (B,) of the bytes ``pages`` to the batch ``out``, (B, 1, S, S) uint8."""
    sources, shape = offsets.astype(np.int64) + pages.ctypes.data, out.shape
    assert len(sources) == shape[0], "a page for each image"
    crew_of(num_threads).copy(sources, out.data_ptr(), shape[-2] * shape[-1])


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
