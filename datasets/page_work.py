"""Pages in memory and a batch to be filled come in; the batch goes out filled, by all threads of a loader."""

from __future__ import annotations

import numpy as np
import torch

from datasets.augment import Augment
from datasets.shared_work import share, unowned
from datasets.warp import copy_batch, warp_batch


def copy_pages(pages: np.ndarray, offsets: np.ndarray, *out: torch.Tensor, num_threads: int) -> None:
    """Copy the pages at ``offsets`` (N,) of the bytes ``pages`` to the batches ``out``, (B, 1, S, S) uint8 each."""
    page_bytes = out[0].shape[-2] * out[0].shape[-1]
    sources = offsets.astype(np.int64) + pages.ctypes.data
    places = [np.arange(len(batch), dtype=np.int64) * page_bytes + batch.data_ptr() for batch in out]
    targets = np.concatenate(places) if len(places) > 1 else places[0]
    assert len(targets) == len(sources), "a page for each image"
    share(copy_batch, sources, targets, page_bytes, count=len(sources), num_threads=num_threads, held=(pages, out))


def warp_pages(
    pages: np.ndarray,
    offsets: np.ndarray,
    samples: np.ndarray,
    out: torch.Tensor,
    key: np.uint64,
    augment: Augment,
    *,
    num_threads: int,
) -> None:
    """Write the pages at ``offsets`` (B,), flipped and rotated as ``key`` and sample decide, to ``out``.

    ``pages`` are read-only bytes, since the kernel is compiled for those of a file.
    """
    ranges = float(augment.rotation_deg), float(augment.flip_probability)
    arguments = (unowned(pages), offsets, samples, unowned(out.numpy()), key, *ranges)
    share(warp_batch, *arguments, count=len(samples), num_threads=num_threads, held=(pages, out))
