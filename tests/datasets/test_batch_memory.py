"""Memory that is used again: which blocks return, and that none of Python's code runs when a batch goes."""

from __future__ import annotations

import gc
import weakref

import torch

from datasets.batch_memory import KEPT_BLOCKS, BatchMemory, _Lease


def test_a_block_returns_with_the_last_view_and_not_before() -> None:
    memory = BatchMemory(pin_memory=False)
    first = memory.take((3, 1, 64, 64))
    view, place = first[1:], first.data_ptr()
    del first
    assert memory.take((3, 1, 64, 64)).data_ptr() != place
    del view
    places = {memory.take((3, 1, 64, 64)).data_ptr() for _ in range(3)}
    assert place in places


def test_a_smaller_batch_takes_the_block_of_a_larger_one_and_not_the_other_way() -> None:
    memory = BatchMemory(pin_memory=False)
    place = memory.take((8, 1, 32, 32)).data_ptr()
    small = memory.take((2, 1, 32, 32))
    assert small.data_ptr() == place and small.shape == (2, 1, 32, 32)
    del small
    assert memory.take((16, 1, 32, 32)).shape == (16, 1, 32, 32)


def test_no_more_blocks_are_kept_than_said() -> None:
    memory = BatchMemory(pin_memory=False)
    held = [memory.take((1, 1, 64, 64)) for _ in range(KEPT_BLOCKS + 5)]
    held.clear()
    memory.take((1, 1, 64, 64))
    assert len(memory._free) <= KEPT_BLOCKS and len(memory._leases) <= 1


def test_batches_outlive_the_memory_that_they_came_from() -> None:
    memory = BatchMemory(pin_memory=False)
    batch = memory.take((2, 1, 32, 32)).fill_(7)
    del memory
    gc.collect()
    assert torch.equal(batch, torch.full((2, 1, 32, 32), 7, dtype=torch.uint8))


def test_the_end_of_a_batch_runs_no_python_code() -> None:
    """A Ctrl-C that arrives in a ``__del__`` or in a callback of Python's is printed and lost."""
    memory = BatchMemory(pin_memory=False)
    batch = memory.take((2, 1, 32, 32))
    (lease,) = memory._leases.values()
    assert isinstance(lease, _Lease) and isinstance(lease, weakref.ref)
    assert type(lease.__callback__).__name__ == "builtin_function_or_method"
    array = lease()
    assert array is not None and not hasattr(type(array), "__del__")
    del array, batch
    assert lease.__callback__ is None and len(memory._ended) == 1
