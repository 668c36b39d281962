"""Batches of any kind: each page at its place, network input as ``to_network_input`` makes it, memory used again."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_beton import write_small_beton
from threads_and_signals import in_threads

from datasets.augment.network_input import to_network_input
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.batch_writer import BatchWriter
from datasets.loading.options import LoaderOptions
from datasets.loading.resident import ResidentPages
from datasets.loading.stream import BetonLoader

SIDE = 16
PAGES = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE), dtype=np.uint8)
SOURCE = ResidentPages(np.arange(50), torch.from_numpy(PAGES.copy())[:, None])


def writer(num_threads: int = 2, side: int = SIDE, **options: object) -> BatchWriter:
    defaults = {"batch_size": 8, "shuffle": False, "output": "uint8"}
    return BatchWriter(side, LoaderOptions(**(defaults | options)), num_threads=num_threads, pin_memory=False)


def copied(chosen: np.ndarray, num_threads: int) -> np.ndarray:
    return writer(num_threads).submit(SOURCE, chosen, 0).result()[:, 0].numpy()


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("float"), 21)


def test_every_gray_level_becomes_the_value_of_to_network_input() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    source = ResidentPages(np.arange(1), levels)
    written = writer(output="float32").submit(source, np.arange(1), 0).result()
    assert written.dtype == torch.float32 and written.shape == (1, 3, 16, 16)
    assert written.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(written, to_network_input(levels))


@pytest.mark.parametrize("augment", [None, Augment(15.0, 0.5)])
def test_a_float_epoch_is_the_gray_epoch_as_network_input(beton: Beton, augment: Augment | None) -> None:
    def epoch(output: str) -> list[torch.Tensor]:
        options = LoaderOptions(batch_size=8, seed=3, shuffle=True, augment=augment, num_workers=2, output=output)
        with BetonLoader(beton, np.arange(21), options).epoch(1) as batches:
            return [batch.images for batch in batches]

    gray, floats = epoch("uint8"), epoch("float32")
    assert [len(images) for images in floats] == [8, 8, 5]
    for gray_images, float_images in zip(gray, floats, strict=True):
        assert torch.equal(float_images, to_network_input(gray_images))


def test_a_batch_that_is_held_is_never_written_again_and_a_dropped_one_is() -> None:
    write = writer(num_threads=1, output="float32")
    first = write.submit(SOURCE, np.array([0, 1]), 0).result()
    view, place = first[1:, :, 2:], first.data_ptr()
    before = view.clone()
    del first
    second = write.submit(SOURCE, np.array([2, 3]), 0).result()
    assert second.data_ptr() != place and torch.equal(view, before)
    del view
    places = {write.submit(SOURCE, np.array([4]), 0).result().data_ptr() for _ in range(3)}
    assert place in places


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 160), st.integers(0, 99))
def test_every_page_arrives_at_its_place(num_threads: int, size: int, seed: int) -> None:
    chosen = np.random.default_rng(seed).integers(0, len(PAGES), size)
    assert np.array_equal(copied(chosen, num_threads), PAGES[chosen])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.lists(st.integers(1, 30), min_size=2, max_size=6), st.booleans())
def test_submitted_batches_may_be_finished_later_and_in_any_order(
    num_threads: int, sizes: list[int], backwards: bool
) -> None:
    write = writer(num_threads, augment=Augment(0.0, 0.0))
    pending = [write.submit(SOURCE, np.arange(size), 0) for size in sizes]
    for one in pending[::-1] if backwards else pending:
        one.result()
    for size, one in zip(sizes, pending, strict=True):
        assert np.array_equal(one.images[:, 0].numpy(), PAGES[:size])


def test_callers_in_several_threads_do_not_disturb_each_other() -> None:
    wrong: list[int] = []

    def call(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            chosen = rng.integers(0, len(PAGES), 30)
            if not np.array_equal(copied(chosen, 3), PAGES[chosen]):
                wrong.append(seed)

    in_threads(call, 3)
    assert wrong == []


def test_threads_are_as_many_as_were_asked_for_and_no_more() -> None:
    for num_threads in (2, 3, 4, 1):
        copied(np.arange(50), num_threads)
    before = threading.active_count()
    for num_threads in (2, 3, 4, 1, 4):
        copied(np.arange(50), num_threads)
    assert threading.active_count() == before


@pytest.mark.parametrize("options", [{}, {"augment": Augment()}, {"output": "float32"}])
def test_a_page_outside_of_the_file_is_never_read(options: dict) -> None:
    cut = ResidentPages(SOURCE.samples, SOURCE.images[:49])
    with pytest.raises(IndexError, match="outside of the file"):
        writer(**options).submit(cut, np.array([3, 49]), 0).result()


def test_memory_of_dropped_batches_is_used_again() -> None:
    write, places = writer(), set()
    for _ in range(300):
        places.add(write.submit(SOURCE, np.arange(40), 0).result().data_ptr())
    assert len(places) <= 3, "a thread may hold the last batch a moment longer"


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_thousands_of_batches_leave_no_memory() -> None:
    write = writer()

    def work(times: int) -> None:
        for _ in range(times):
            write.submit(SOURCE, np.arange(4), 0).result()

    work(1000)
    gc.collect()
    before = resident_kib()
    work(10_000)
    assert resident_kib() - before < 4 * 1024


def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
import os, signal, numpy as np, torch
from datasets.loading.options import LoaderOptions
from datasets.loading.batch_writer import BatchWriter
from datasets.loading.resident import ResidentPages
pages = torch.arange(40 * 64, dtype=torch.int16).to(torch.uint8).view(40, 1, 8, 8)
source = ResidentPages(np.arange(40), pages)
writer = BatchWriter(8, LoaderOptions(batch_size=40, shuffle=False), num_threads=3, pin_memory=False)
ok = lambda: bool(torch.equal(writer.submit(source, np.arange(40), 0).result(), pages))
assert ok()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if ok() else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr
