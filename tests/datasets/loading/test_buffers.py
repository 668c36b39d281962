"""Memory that is used again: which blocks return, and when."""

from __future__ import annotations

import gc

import pytest
import torch
from threads_and_signals import in_threads

from datasets.loading.buffers import KEPT_BLOCKS, BufferPool


def test_a_block_returns_with_the_last_view_and_not_before() -> None:
    memory = BufferPool(pin_memory=False)
    first = memory.take((3, 1, 64, 64))
    view, place = first[1:], first.data_ptr()
    del first
    assert memory.take((3, 1, 64, 64)).data_ptr() != place
    del view
    places = {memory.take((3, 1, 64, 64)).data_ptr() for _ in range(3)}
    assert place in places


def test_a_smaller_batch_takes_the_block_of_a_larger_one_and_not_the_other_way() -> None:
    memory = BufferPool(pin_memory=False)
    place = memory.take((8, 1, 32, 32)).data_ptr()
    small = memory.take((2, 1, 32, 32))
    assert small.data_ptr() == place and small.shape == (2, 1, 32, 32)
    del small
    assert memory.take((16, 1, 32, 32)).shape == (16, 1, 32, 32)


WEIGHT = torch.ones((), requires_grad=True)
READERS = {
    "view": lambda batch: batch[1],
    "array": lambda batch: torch.from_numpy(batch.numpy()[1]),
    "reshaped": lambda batch: batch.view(torch.int16).flatten().view(torch.uint8)[-4096:],
    "storage": lambda batch: torch.empty(0, dtype=torch.uint8).set_(batch.untyped_storage())[-4096:],
    "graph": lambda batch: batch.view(torch.float32)[1] * WEIGHT,
}


@pytest.mark.parametrize("side", [64, 1024])
@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("smaller", [False, True])
def test_whatever_still_reads_a_batch_keeps_its_block(how: str, side: int, smaller: bool) -> None:
    """For blocks of both kinds, and for a batch that takes a part of a larger one."""
    memory = BufferPool(pin_memory=False)
    if smaller:
        memory.take((3, 1, side, side))
    batch = memory.take((2, 1, side, side)).fill_(7)
    place, reader = batch.data_ptr(), READERS[how](batch)
    del batch
    others = [memory.take((2, 1, side, side)).fill_(9) for _ in range(3)]
    assert place not in {other.data_ptr() for other in others}
    if how == "graph":
        sevens = torch.full((side * side,), 7, dtype=torch.uint8).view(torch.float32)
        (gradient,) = torch.autograd.grad(reader.sum(), WEIGHT)
        torch.testing.assert_close(gradient, sevens.sum())
    else:
        assert (reader == 7).all()
    del reader
    others.append(memory.take((2, 1, side, side)))
    assert others[-1].data_ptr() == place, "the block returns with its last reader"


def test_no_more_unused_blocks_are_kept_for_long_than_said() -> None:
    memory = BufferPool(pin_memory=False)
    held = [memory.take((1, 1, 64, 64)) for _ in range(KEPT_BLOCKS + 5)]
    held.clear()
    memory.take((1, 1, 64, 64))
    assert len(memory._free) == KEPT_BLOCKS - 1 and len(memory._leases) == 1


def test_threads_never_get_the_same_block() -> None:
    memory, wrong = BufferPool(pin_memory=False), []

    def use(number: int) -> None:
        for _ in range(3000):
            batch = memory.take((1, 1, 8, 8)).fill_(number)
            if not (batch == number).all():
                wrong.append(number)

    in_threads(use, 4)
    assert wrong == []


def test_batches_outlive_the_memory_that_they_came_from() -> None:
    memory = BufferPool(pin_memory=False)
    batch = memory.take((2, 1, 32, 32)).fill_(7)
    del memory
    gc.collect()
    assert torch.equal(batch, torch.full((2, 1, 32, 32), 7, dtype=torch.uint8))
