"""Write phantom datasets to disk as whole folders.

A dataset is drawn into a folder beside its own and renamed when it is whole: what bears the dataset's name is never
half of it. Patients are drawn independently of each other, so that the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import fcntl
import os
import pkgutil
import shutil
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.files import read_json, write_json, write_text
from datasets.phantom.layout import Job, Layout, Rows, write_table
from datasets.progress import progress
from datasets.sources.records import PHANTOM_MARK
from datasets.sources.registry import DATASETS

README_NAME, RECORD_NAME = "README.txt", PHANTOM_MARK
VERSION = 1
"""Part of a dataset's record; raised when the same arguments would give other bytes."""
FEWEST_PATIENTS, SMALLEST_SIZE, LARGEST_SIZE = 5, 32, 2048

_CHUNK = 8

NOTICE = "MADE-UP IMAGES. NOT PATIENT DATA. SCORES ON THEM NEVER STAND IN FOR RESULTS ON REAL DATA."

README = f"""{NOTICE}

Every picture below this folder was drawn by a formula from a seed, by `cxr phantom` of cxr-harness. No patient was
imaged, no real radiograph was used, and names, ids, ages and dates are invented, even where an id looks like one of a
real dataset. The pictures serve to try and to test software. They say nothing about any disease, network or method.

What is here (those that were asked for)
  CheXpert-v1.0-small/   train.csv, valid.csv, train/patient00001/study1/view1_frontal.jpg ...
  ChestX-ray14/          Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt, images_001/images/*.png ...
  MIMIC-CXR-JPG/         three mimic-cxr-2.0.0-*.csv.gz, files/p10/p10000032/s50414267/*.jpg ...
  */PHANTOM.json         seed, size, number of patients and images

What the labels mean
  Each finding leaves a visual trace of varying strength, the same in all three datasets: a wide heart
  (Cardiomegaly), a wide upper mediastinum (Enlarged Cardiomediastinum), basal fluid with a meniscus (Effusion,
  Pleural Effusion), a dark rim without vessels behind a thin bright edge (Pneumothorax), small round shadows (Nodule,
  Lung Lesion), one large round shadow (Mass, Lung Lesion), haze around the hila (Edema), one dense zone ending at a
  fissure (Consolidation), a cluster of soft patches (Pneumonia), a fine mottled veil (Infiltration; Lung Opacity),
  flat bands with a raised diaphragm (Atelectasis), lines, boxes and leads (Support Devices), dark lungs with few
  vessels and a flat diaphragm (Emphysema), streaks (Fibrosis), a bright rim inside the chest wall (Pleural
  Thickening, Pleural Other), displaced ribs with callus (Fracture), a bubble behind the heart (Hernia).
  Lung Opacity is set whenever Edema, Consolidation, Pneumonia, Atelectasis or Lung Lesion is present.
  Findings that a dataset has no label for occur in it unnamed.

What differs from the real datasets
  Rare labels are lifted to 6 percent or more, so that a few hundred images hold positives of each. Patients have 1 to
  4 studies, and images number 1.5 to 2.5 per patient. MIMIC's official test part holds 10 percent of the patients and
  its validate part 5 percent.
"""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one call made of one dataset; ``fresh`` is False when it was there already."""

    dataset: str
    folder: Path
    patients: int
    images: int
    fresh: bool


def phantom_datasets() -> list[str]:
    """Names of the datasets that can be written."""
    return [name for name, entry in DATASETS.items() if entry.phantom]


def _layout(job: Job) -> Layout:
    layout: Layout = pkgutil.resolve_name(str(DATASETS[job.dataset].phantom))
    return layout


def write_phantom(
    directory: Path,
    datasets: Sequence[str],
    *,
    patients: int,
    seed: int,
    size: int,
    workers: int | None = None,
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
    count = workers if workers is not None else len(os.sched_getaffinity(0))
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
        there = [_read_record(directory, job) for job in jobs]
        return [
            _written(directory, job, record, fresh=False)
            if record is not None
            else _written(directory, job, _write_dataset(directory, job, count), fresh=True)
            for job, record in zip(jobs, there, strict=True)
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
    if not any(directory.iterdir()):
        return
    readme = directory / README_NAME
    if not readme.is_file() or not readme.read_text(encoding="utf-8", errors="replace").startswith(NOTICE):
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


def _read_record(directory: Path, job: Job) -> dict[str, Any] | None:
    """The record of a dataset that is there whole, or None where there is nothing."""
    folder = directory / _layout(job).folder
    if not folder.exists():
        return None
    record: dict[str, Any] = read_json(folder / RECORD_NAME)
    differing = [key for key, value in _record(job).items() if record.get(key) != value]
    if differing:
        told = ", ".join(f"{key} = {record.get(key)}" for key in differing)
        raise InputError(f"{folder}: is there already with {told}; remove it or give another folder")
    return record


def _written(directory: Path, job: Job, record: dict[str, Any], *, fresh: bool) -> Written:
    folder = directory / _layout(job).folder
    return Written(dataset=job.dataset, folder=folder, patients=job.patients, images=record["images"], fresh=fresh)


def _write_dataset(directory: Path, job: Job, workers: int) -> dict[str, Any]:
    layout = _layout(job)
    partial = directory / f".{layout.folder}.partial"
    try:
        partial.mkdir()
        tables: Rows = {name: [] for name in layout.tables}
        images = 0
        with (
            progress(f"phantom {job.dataset}", job.patients, unit="patients") as advance,
            closing(_chunks(partial, job, workers)) as chunks,
        ):
            for rows, written, patients in chunks:
                for name, lines in rows.items():
                    tables[name].extend(lines)
                images += written
                advance(patients, note=f"{images:,} images")
        for name, table in layout.tables.items():
            write_table(partial, name, table, tables[name])
        record = {**_record(job), "images": images}
        write_json(partial / RECORD_NAME, record)
        partial.rename(directory / layout.folder)
        return record
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _chunks(root: Path, job: Job, workers: int) -> Generator[tuple[Rows, int, int], None, None]:
    """Rows, images and patients of each chunk, in the order of the patients."""
    starts = range(1, job.patients + 1, _CHUNK)
    if workers == 1:
        for start in starts:
            yield _write_chunk(root, job, start)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt) as pool:
        futures: list[Future[tuple[Rows, int, int]]] = [pool.submit(_write_chunk, root, job, n) for n in starts]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the parent alone, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_chunk(root: Path, job: Job, start: int) -> tuple[Rows, int, int]:
    tables: Rows = {}
    images = 0
    numbers = range(start, min(start + _CHUNK, job.patients + 1))
    for number in numbers:
        rows, written = _layout(job).write_patient(root, job, number)
        images += written
        for name, lines in rows.items():
            tables.setdefault(name, []).extend(lines)
    return tables, images, len(numbers)
