"""How reading begins and ends: errors arrive, early stops leave nothing, kept batches stay, torch is left alone."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_beton import small_pages, write_small_beton

from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.ffcv.producer import LoaderFailedError
from datasets.loading.options import LoaderOptions
from datasets.loading.stream import BetonLoader
from datasets.loading.threads import num_loader_threads, usable_cores

N = 96


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("lifecycle"), N)


def training(beton: Beton, **settings: object) -> BetonLoader:
    defaults = {"batch_size": 4, "shuffle": True, "augment": Augment(15.0, 0.5), "num_workers": 2}
    return BetonLoader(beton, np.arange(N), LoaderOptions(**(defaults | settings)))


def evaluation(beton: Beton, batch_size: int) -> BetonLoader:
    return training(beton, batch_size=batch_size, shuffle=False, augment=None)


def warm_up(loader: BetonLoader) -> int:
    with loader.epoch(0) as batches:
        list(batches)
    return threading.active_count()


def test_early_breaks_leave_no_thread(beton: Beton) -> None:
    loader = training(beton)
    before = warm_up(loader)
    for epoch in range(30):
        with loader.epoch(epoch) as batches:
            next(batches)
    assert threading.active_count() == before


def test_a_dropped_iterator_leaves_no_thread(beton: Beton) -> None:
    loader = training(beton)
    before = warm_up(loader)
    for epoch in range(10):
        for _ in loader.epoch(epoch):
            break
        next(loader.epoch(epoch))
    gc.collect()
    assert threading.active_count() == before


def test_an_exception_in_the_loop_leaves_no_thread(beton: Beton) -> None:
    loader = training(beton)
    before = warm_up(loader)
    with pytest.raises(ZeroDivisionError), loader.epoch(0) as batches:
        for _ in batches:
            _ = 1 / 0
    assert threading.active_count() == before


def test_a_whole_epoch_ends_its_thread_without_close(beton: Beton) -> None:
    loader = training(beton)
    before = warm_up(loader)
    batches = loader.epoch(0)
    assert len(list(batches)) == 24
    assert threading.active_count() == before


def test_after_the_end_and_after_close_there_is_nothing_more(beton: Beton) -> None:
    batches = training(beton).epoch(0)
    list(batches)
    for _ in range(3):
        assert next(batches, None) is None
    closed = training(beton).epoch(0)
    next(closed)
    closed.close()
    closed.close()
    assert next(closed, None) is None


def test_closing_does_not_wait_for_the_consumer(beton: Beton) -> None:
    batches = training(beton).epoch(0)
    next(batches)
    time.sleep(0.3)  # the producer now waits for room in its queue
    started = time.monotonic()
    batches.close()
    assert time.monotonic() - started < 0.5


def test_a_producer_s_error_reaches_the_consumer(beton: Beton) -> None:
    """A real failure in the background: the labels' array is cut short under the producer's hands."""
    loader = training(beton, batch_size=N // 2)
    before = warm_up(loader)
    reader = loader._stream.reader
    reader.metadata = reader.metadata[: N // 2]
    started = time.monotonic()
    with loader.epoch(0) as batches:
        with pytest.raises(LoaderFailedError, match=r"small\.beton: reading a batch failed: IndexError") as caught:
            list(batches)
        assert isinstance(caught.value.__cause__, IndexError)
        assert next(batches, None) is None
    assert time.monotonic() - started < 5
    assert threading.active_count() == before


def test_batches_before_a_failure_are_handed_out(beton: Beton) -> None:
    loader = evaluation(beton, 8)
    reader = loader._stream.reader
    reader.metadata = reader.metadata[:16]
    found = []
    with pytest.raises(LoaderFailedError):
        found.extend(loader.epoch(0))
    with loader.epoch(0) as batches:
        assert [next(batches).indices[0].item() for _ in range(2)] == [0, 8]


def test_kept_batches_stay_as_they_were(beton: Beton) -> None:
    loader = training(beton)
    kept, copies = [], []
    for epoch in range(3):
        with loader.epoch(epoch) as batches:
            for batch in batches:
                kept.append(batch)
                copies.append((batch.images.clone(), batch.targets.clone(), batch.indices.clone()))
    for batch, (images, targets, indices) in zip(kept, copies, strict=True):
        assert torch.equal(batch.images, images) and torch.equal(batch.targets, targets)
        assert torch.equal(batch.indices, indices)
    assert len({batch.images.data_ptr() for batch in kept}) == len(kept)


def test_training_and_evaluation_can_be_read_at_once(beton: Beton) -> None:
    loader, inner = training(beton), evaluation(beton, 32)
    with loader.epoch(0) as batches:
        alone = [batch.images for batch in batches]
    with loader.epoch(0) as outer, loader.epoch(1) as next_epoch:
        for number, batch in enumerate(outer):
            assert torch.equal(batch.images, alone[number])
            next(next_epoch)
            if number % 6 == 0:
                pages = torch.cat([b.images for b in inner.epoch(0)])[:, 0].numpy()
                assert np.array_equal(pages, small_pages(N, 32))


def test_torch_keeps_its_threads(beton: Beton) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        warm_up(training(beton, num_workers=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_no_pool_of_numba_s_is_in_the_way_of_two_loaders(beton: Beton, layer: str) -> None:
    """numba's workqueue aborts the process when two threads run parallel kernels at once; ours use their own pool."""
    code = f"""
import torch; torch.set_num_threads(2)
import numpy as np
from pathlib import Path
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.options import LoaderOptions
from datasets.loading.stream import BetonLoader
beton = Beton.open(Path({str(beton.path)!r}))
options = LoaderOptions(batch_size=2, shuffle=True, augment=Augment())
one, other = (BetonLoader(beton, np.arange({N}), options).epoch(epoch) for epoch in range(2))
print(len(list(zip(one, other))), torch.get_num_threads())
"""
    done = run_python(code, NUMBA_THREADING_LAYER=layer)
    assert (done.returncode, done.stdout.split()) == (0, [str(N // 2), "2"]), done.stderr


def test_leaving_the_process_midway_ends_cleanly(beton: Beton) -> None:
    code = f"""
import numpy as np
from pathlib import Path
from datasets.beton.reader import Beton
from datasets.loading.options import LoaderOptions
from datasets.loading.stream import BetonLoader
beton = Beton.open(Path({str(beton.path)!r}))
batches = BetonLoader(beton, np.arange({N}), LoaderOptions(batch_size=4, shuffle=False)).epoch(0)
print(len(next(batches).images))
"""
    done = run_python(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "4", "")


def test_threads_follow_the_process_s_mask() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    assert num_loader_threads(None) <= usable_cores()
    assert num_loader_threads(1) == 1
    assert 1 <= num_loader_threads(10_000) <= 10_000
    with pytest.raises(InputError, match="num_workers = 0"):
        num_loader_threads(0)
    code = "from datasets.loading.threads import num_loader_threads; print(num_loader_threads(None))"
    code = f"import os; os.sched_setaffinity(0, {{0}}); {code}"
    assert run_python(code).stdout.strip() == "1"


def test_a_file_cut_short_after_it_was_opened_is_refused(beton: Beton, tmp_path: Path) -> None:
    """Following its offsets would end the process by a signal."""
    short = tmp_path / "short.beton"
    short.write_bytes(beton.path.read_bytes()[: -1 << 20])
    cut = dataclasses.replace(beton, path=short)
    with pytest.raises(InputError, match=r"short\.beton: .*convert again"):
        evaluation(cut, 4)
