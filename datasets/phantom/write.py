"""Write phantom datasets to disk as whole folders.

A dataset is drawn into a folder beside its own and renamed when it is whole: what bears the dataset's name is never
half of it. Patients are drawn independently of each other, so that the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import fcntl
import functools
import os
import pkgutil
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from datasets.errors import InputError
from datasets.files import read_json, write_json, write_text
from datasets.loading.threads import usable_cores
from datasets.phantom.layout import Job, Layout, Rows, write_table
from datasets.progress import progress
from datasets.sources.records import PHANTOM_MARK
from datasets.sources.registry import DATASETS

README_NAME = "README.txt"
VERSION = 1
"""Part of a dataset's record; raised when the same arguments would give other bytes."""
FEWEST_PATIENTS, SMALLEST_SIZE, LARGEST_SIZE = 5, 32, 2048
_CHUNK = 8
"""Patients that a worker is sent at once."""
README = Path(__file__).with_name(README_NAME).read_text(encoding="utf-8")
NOTICE = README.partition("\n")[0]


class Written(NamedTuple):
    """What one call made of one dataset; ``fresh`` is False when it was there already."""

    folder: Path
    images: int
    fresh: bool


def phantom_datasets() -> list[str]:
    """Names of the datasets that can be written."""
    return [name for name, entry in DATASETS.items() if entry.phantom]


def _layout(job: Job) -> Layout:
    layout: Layout = pkgutil.resolve_name(str(DATASETS[job.dataset].phantom))
    return layout


def write_phantom(
    directory: Path, datasets: Sequence[str], *, patients: int, seed: int, size: int, workers: int | None = None
) -> list[Written]:
    """Write each dataset below ``directory``; one that is there with the same arguments is left as it is.

    Args:
        directory: absent, empty, or written by an earlier call.
        datasets: names of registered datasets with a phantom layout.
        patients: number of patients per dataset; images are about twice as many.
        seed: same seed, patients and size give the same bytes.
        size: shorter side of the images in pixels.
        workers: processes; None takes the cores that this process may use.

    Raises:
        InputError: for values out of range, a foreign folder, or a dataset that is there with other arguments.
    """
    _check_arguments(datasets, patients, seed, size, workers)
    count = workers or usable_cores()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made a folder ({error.strerror}); give another path") from None
    with _locked(directory):
        _refuse_foreign(directory)
        for leftover in directory.glob(".*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        if not (directory / README_NAME).exists():
            write_text(directory / README_NAME, README)
        jobs = [Job(dataset=name, patients=patients, seed=seed, size=size) for name in dict.fromkeys(datasets)]
        there = [_images_there(directory, job) for job in jobs]
        return [
            Written(directory / _layout(job).folder, found or _write_dataset(directory, job, count), not found)
            for job, found in zip(jobs, there, strict=True)
        ]


def _check_arguments(datasets: Sequence[str], patients: int, seed: int, size: int, workers: int | None) -> None:
    known = phantom_datasets()
    for name in datasets:
        if name not in known:
            raise InputError(f"dataset {name!r} is unknown; known: {', '.join(known)}")
    if not FEWEST_PATIENTS <= patients <= 99_999:
        raise InputError(f"patients = {patients}: must lie in {FEWEST_PATIENTS}..99999 to hold every oddity once")
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise InputError(f"size = {size} pixels: must lie in {SMALLEST_SIZE}..{LARGEST_SIZE}")
    if seed < 0:
        raise InputError(f"seed = {seed}: must be 0 or more")
    if workers is not None and workers < 1:
        raise InputError(f"workers = {workers}: must be 1 or more")


def _refuse_foreign(directory: Path) -> None:
    """Refuse to write beside files that are not ours."""
    readme = directory / README_NAME
    ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(NOTICE)
    if not ours and any(directory.iterdir()):
        raise InputError(
            f"{directory}: is not empty and was not written by cxr phantom; give a new or an empty folder"
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the folder against other writers; the lock ends with the process, however that ends."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{directory}: another cxr phantom is writing here; wait for its end") from None
        yield
    finally:
        os.close(handle)


def _record(job: Job) -> dict[str, Any]:
    return {"notice": NOTICE, "version": VERSION, **asdict(job)}


def _images_there(directory: Path, job: Job) -> int:
    """Number of images of a dataset that is there whole; 0 where there is nothing."""
    folder = directory / _layout(job).folder
    if not folder.exists():
        return 0
    record = read_json(folder / PHANTOM_MARK)
    differing = [key for key, value in _record(job).items() if record.get(key) != value]
    if differing:
        told = ", ".join(f"{key} = {record.get(key)}" for key in differing)
        raise InputError(f"{folder}: is there already with {told}; remove it or give another folder")
    return int(record["images"])


def _write_dataset(directory: Path, job: Job, workers: int) -> int:
    """Write a dataset and return its number of images."""
    layout = _layout(job)
    partial = directory / f".{layout.folder}.partial"
    try:
        partial.mkdir()
        tables: Rows = {name: [] for name in layout.tables}
        images = 0
        write = functools.partial(layout.write_patient, partial, job)
        with progress(f"phantom {job.dataset}", job.patients, unit="patients") as advance, _mapping(workers) as each:
            for new, written in each(write, range(1, job.patients + 1)):
                for name, lines in new.items():
                    tables[name].extend(lines)
                images += written
                advance(1, note=f"{images:,} images")
        for name, rows in tables.items():
            write_table(partial, name, layout, rows)
        write_json(partial / PHANTOM_MARK, {**_record(job), "images": images})
        partial.rename(directory / layout.folder)
        return images
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[tuple[Rows, int]]]]:
    """``map`` over this many processes; what has not begun when the block ends is not done."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
        try:
            yield functools.partial(pool.map, chunksize=_CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a worker whose parent is killed would wait for work forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
