"""How reading ends when the world fails: files, memory, Ctrl-C; and that a thousand epochs leave nothing behind."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_beton import write_small_beton
from small_dataset import wait_until
from threads_and_signals import stderr_after_ctrl_c

from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.batch import Loader
from datasets.loading.options import LoaderOptions
from datasets.loading.tiers import open_tier

N = 40
TIERS = ("raw", "jpeg", "resident")


@pytest.fixture(scope="module")
def betons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Beton]:
    """The beton that each tier reads."""
    raw = write_small_beton(tmp_path_factory.mktemp("endings"), N)
    jpeg = write_small_beton(tmp_path_factory.mktemp("jpegs"), N, encoding="jpeg")
    return {"raw": raw, "jpeg": jpeg, "resident": raw}


@pytest.fixture(scope="module")
def beton(betons: dict[str, Beton]) -> Beton:
    return betons["raw"]


def opened(beton: Beton, tier: str, **settings: object) -> Loader:
    defaults = {"batch_size": 8, "shuffle": True, "augment": Augment(15.0, 0.5), "num_workers": 2}
    return open_tier(beton, np.arange(N), LoaderOptions(**(defaults | settings)), tier=tier)


def read(loader: Loader, epoch: int = 0) -> torch.Tensor:
    with loader.epoch(epoch) as batches:
        return torch.cat([batch.images for batch in batches])


def stands_still() -> bool:
    """Whether no thread of this process has computed for a fifth of a second."""
    before = time.process_time()
    time.sleep(0.2)
    return time.process_time() - before < 0.01


@pytest.mark.parametrize("act", ["delete", "replace"])
def test_a_file_that_loses_its_name_is_read_to_the_end(tmp_path: Path, act: str) -> None:
    beton = write_small_beton(tmp_path, N)
    loader = opened(beton, "raw")
    expected = read(loader)
    with loader.epoch(0) as batches:
        found = [next(batches).images]
        if act == "delete":
            beton.path.unlink()
        else:
            (tmp_path / "other").write_bytes(b"another file")
            (tmp_path / "other").replace(beton.path)
        found += [batch.images for batch in batches]
    assert torch.equal(torch.cat(found), expected)
    assert torch.equal(read(loader), expected)


def test_a_file_cut_short_while_it_is_read_ends_the_epoch_with_an_error(tmp_path: Path) -> None:
    """Without the check before each batch, reading behind the new end would kill the process.

    A cut in the middle of a batch does, as ``MappedBytes`` says; so the file is cut while the producer waits.
    """
    beton = write_small_beton(tmp_path, N)
    loader = opened(beton, "raw", batch_size=2)
    with loader.epoch(0) as batches:
        next(batches)
        wait_until(lambda: batches._producer.output_queue.full() and stands_still())
        os.truncate(beton.path, beton.layout.data_start)
        with pytest.raises(InputError, match=r"small\.beton: cut short while it was being read"):
            list(batches)
    with pytest.raises(InputError, match="cut short"):
        read(loader)
    with pytest.raises(InputError, match="cut short"):
        opened(beton, "resident")


def test_a_file_replaced_between_opening_and_loading_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    beton, other = write_small_beton(tmp_path / "a", N), write_small_beton(tmp_path / "b", N)
    content = bytearray(other.path.read_bytes())
    content[3147 + 8] ^= 1  # a label of the first sample, behind the header of 24 B and three descriptors of 1,041 B
    beton.path.write_bytes(content)
    with pytest.raises(InputError, match="cut short, replaced or altered since it was opened"):
        opened(beton, "raw")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


@pytest.mark.parametrize(("tier", "settings"), [*((tier, {}) for tier in TIERS), ("resident", {"augment": None})])
def test_a_thousand_epochs_leave_no_thread_no_descriptor_and_no_memory(
    betons: dict[str, Beton], tier: str, settings: dict
) -> None:
    loader = opened(betons[tier], tier, batch_size=16, **settings)

    def epochs(first: int, last: int) -> None:
        for epoch in range(first, last):
            with loader.epoch(epoch) as batches:
                next(batches) if epoch % 4 == 0 else list(batches)

    epochs(0, 200)
    gc.collect()  # what earlier tests left is not this loader's
    before = threading.active_count(), open_descriptors()
    kib = resident_kib()
    epochs(200, 1000)
    assert (threading.active_count(), open_descriptors()) == before
    # What is kept per epoch shows 800 times: 5 kB of each would be seen.
    assert resident_kib() - kib < 4 * 1024


def test_loaders_that_come_and_go_leave_nothing(betons: dict[str, Beton]) -> None:
    def use(times: int) -> None:
        for _ in range(times):
            for tier in TIERS:
                read(opened(betons[tier], tier))

    use(5)
    gc.collect()  # of what other tests have left
    before, kib = (threading.active_count(), open_descriptors()), resident_kib()
    use(60)
    gc.collect()
    assert (threading.active_count(), open_descriptors()) == before
    assert resident_kib() - kib < 24 * 1024


def test_two_loaders_of_each_tier_are_read_at_once(betons: dict[str, Beton]) -> None:
    loaders = [opened(betons[tier], tier, seed=seed) for tier in TIERS for seed in (0, 1)]
    alone = [read(loader) for loader in loaders]
    epochs = [loader.epoch(0) for loader in loaders]
    together = [[] for _ in loaders]
    for step in zip(*epochs, strict=True):
        for images, batch in zip(together, step, strict=True):
            images.append(batch.images)
    for images, expected in zip(together, alone, strict=True):
        assert torch.equal(torch.cat(images), expected)


OPENING = """
import sys
import numpy as np
from pathlib import Path
from datasets.beton.reader import Beton
from datasets.augment.policy import Augment
from datasets.loading.options import LoaderOptions
from datasets.loading.tiers import open_tier
beton = Beton.open(Path(sys.argv[1]))
"""
LOADING = """
options = LoaderOptions(batch_size=8, shuffle=True, augment=Augment(15.0, 0.5), num_workers=2)
loader = open_tier(beton, np.arange(beton.num_samples), options, tier=sys.argv[2])
"""
WITH, WITHOUT = "with loader.epoch(epoch) as batches:", "for batches in [loader.epoch(epoch)]:"


def start(code: str, beton: Beton, tier: str = "raw") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPENING + code, str(beton.path), tier]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("tier", "how"), [("raw", WITHOUT), *((tier, WITH) for tier in TIERS)])
def test_ctrl_c_ends_the_process_at_once(betons: dict[str, Beton], tier: str, how: str) -> None:
    code = f"""{LOADING}
import itertools
for epoch in itertools.count():
    {how}
        for batch in batches:
            if epoch == 3:
                print("reading", flush=True)
"""
    process = start(code, betons[tier], tier)
    assert stderr_after_ctrl_c(process, "reading", 10).endswith("KeyboardInterrupt")


@pytest.mark.parametrize("is_running", [True, False])
def test_ctrl_c_while_the_thread_starts_leaves_none(
    betons: dict[str, Beton], monkeypatch: pytest.MonkeyPatch, is_running: bool
) -> None:
    """Whether it comes once the thread runs, or before the system runs it."""
    start, begun = threading.Thread.start, list[threading.Thread]()

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        if is_running:
            start(thread)
        else:
            threading.Timer(0.1, start, (thread,)).start()
        begun.append(thread)
        raise KeyboardInterrupt

    beton = betons["raw"]
    options = LoaderOptions(batch_size=8, shuffle=False, num_workers=2)
    loader = open_tier(beton, np.arange(beton.num_samples), options, tier="raw")
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loader.epoch(0)
    assert [(thread.ident is not None, thread.is_alive()) for thread in begun] == [(True, False)]


@pytest.mark.parametrize("tier", TIERS)
def test_want_of_memory_is_an_error_and_no_hang(tmp_path: Path, tier: str) -> None:
    beton = write_small_beton(tmp_path, 96, image_size=512, encoding="jpeg" if tier == "jpeg" else "raw")
    code = LOADING.replace("num_workers=2", "num_workers=2, output='uint8'")
    code += """
import resource
list(loader.epoch(0))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (24 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
kept = []
try:
    for epoch in range(100):
        with loader.epoch(epoch) as batches:
            for batch in batches:
                kept.append(batch)
except (RuntimeError, MemoryError) as error:
    count = len(kept)
    kept.clear()
    print(type(error).__name__, count > 0, error)
"""
    process = start(code, beton, tier)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    kind = "MemoryError" if tier == "resident" else "LoaderFailedError"
    assert output.startswith(f"{kind} True ")
    assert "no 2,097,152 bytes left" in output or "cannot start reading" in output, output


def test_the_next_process_has_its_first_batch_within_two_seconds(beton: Beton) -> None:
    """Kernels come from the disk. Processor time is measured, so that a busy machine passes; FFCV's import counts.

    The whole, from the start of the process, is mostly torch's own import; FFCV's, done as FFCV does it, would add as
    much again.
    """
    code = f"""
import time
started = time.process_time()
{LOADING}
with loader.epoch(0) as batches:
    next(batches)
    now = time.process_time()
    print(now - started, now, flush=True)
"""
    for _ in range(2):
        process = start(code, beton)
        output, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    since_opening, since_start = map(float, output.split())
    assert since_opening < 2.0 and since_start < 5.0


def test_the_limit_of_open_files_is_no_trap(beton: Beton) -> None:
    """A loader holds two descriptors, of the mapping and for reading ahead, however many epochs are open."""
    before = open_descriptors()
    loader = opened(beton, "raw")
    assert open_descriptors() <= before + 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 1, hard))
    try:
        epochs = [loader.epoch(epoch) for epoch in range(8)]
        assert [len(next(epoch).images) for epoch in epochs] == [8] * 8
        for epoch in epochs:
            epoch.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
