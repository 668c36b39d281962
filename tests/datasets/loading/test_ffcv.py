"""What is overridden of FFCV: this notices when an interface that FFCV does not document changes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from numba import typed
from small_beton import small_targets, write_small_beton

from datasets.beton.reader import Beton
from datasets.loading.ffcv import imports
from datasets.loading.options import LoaderOptions
from datasets.loading.stream import BetonLoader


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("ffcv"), 20)


def test_the_table_of_image_modes_is_a_plain_dictionary_that_plain_python_reads_alone() -> None:
    """Why numba's dictionary can be left out of the import."""
    from ffcv.fields import rgb_image

    assert type(rgb_image.IMAGE_MODES) is dict and typed.Dict is not dict
    uses = [line for line in Path(inspect.getfile(rgb_image)).read_text().splitlines() if "IMAGE_MODES" in line]
    assert len(uses) == 7 and all("IMAGE_MODES[" in line for line in uses[1:])


def test_the_loader_has_every_attribute_that_ffcv_s_iterator_reads(beton: Beton) -> None:
    from ffcv.loader.loader import Loader

    stream = BetonLoader(beton, np.arange(20), LoaderOptions(batch_size=8, shuffle=False))._stream
    source = inspect.getsource(imports.EpochIterator)
    attributes = re.findall(r"self\.(\w+)[^=\n]* = ", inspect.getsource(Loader.__init__))
    read = {name for name in attributes if f"loader.{name}" in source}
    assert read and all(hasattr(stream, name) for name in read - {"traversal_order", "num_workers"})
    assert "loader.num_workers" not in source.replace(inspect.getsource(imports.EpochIterator.run), "")
    for called in (
        "schedule_epoch(",
        "allocate_memory(",
        "start_batch(",
        "__enter__()",
        "__exit__(None, None, None)",
    ):
        assert f".{called}" in source and hasattr(stream.memory_manager, called.partition("(")[0])


def _fields() -> dict:
    from datasets.loading.ffcv.fields import LabelsField

    return {"labels": LabelsField}


def test_ffcv_s_iterator_calls_what_the_producer_overrides() -> None:
    source = inspect.getsource(imports.EpochIterator)
    for used in (
        "self.start()",
        "def run(self)",
        "def run_pipeline(self, b_ix, batch_indices, batch_slot, cuda_event)",
    ):
        assert used in source
    for attribute in ("iter_ixes", "output_queue", "terminate_event", "storage_state"):
        assert f"self.{attribute}" in source


def test_ffcv_s_own_reader_finds_the_labels(beton: Beton) -> None:
    reader = imports.Reader(str(beton.path), _fields())
    assert np.array_equal(reader.metadata["f1"], small_targets(20))
