"""Batches as network input: the values of ``to_network_input``, in memory that is used again but never shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_beton import write_small_beton

from datasets.augment.network_input import to_network_input
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.ffcv.float_output import NetworkInputWriter
from datasets.loading.stream import BetonLoader


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("float"), 21)


def test_every_gray_level_becomes_the_value_of_to_network_input() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    written = NetworkInputWriter(num_threads=2, pin_memory=False)(levels)
    expected = to_network_input(levels)
    assert written.dtype == torch.float32 and written.shape == (1, 3, 16, 16)
    assert written.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(written, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("augment", [None, Augment(15.0, 0.5)])
def test_a_float_epoch_is_the_gray_epoch_as_network_input(beton: Beton, augment: Augment | None) -> None:
    def epoch(output: str) -> list[torch.Tensor]:
        loader = BetonLoader(
            beton,
            np.arange(21),
            batch_size=8,
            seed=3,
            shuffle=True,
            augment=augment,
            num_workers=2,
            output=output,
        )
        with loader.epoch(1) as batches:
            return [batch.images for batch in batches]

    gray, floats = epoch("uint8"), epoch("float32")
    assert [len(images) for images in floats] == [8, 8, 5]
    for gray_images, float_images in zip(gray, floats, strict=True):
        torch.testing.assert_close(float_images, to_network_input(gray_images), rtol=0, atol=1e-6)


def test_a_batch_that_is_held_is_never_written_again_and_a_dropped_one_is() -> None:
    write = NetworkInputWriter(num_threads=2, pin_memory=False)
    first = write(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    view, place = first[1:, :, 2:], first.data_ptr()
    before = view.clone()
    del first
    second = write(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8))
    assert second.data_ptr() != place and torch.equal(view, before)
    del view
    assert write(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).data_ptr() == place
