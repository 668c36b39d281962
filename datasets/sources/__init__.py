"""One reader for each dataset: a root folder comes in, ``SourceRows`` in one schema go out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from datasets.errors import InputError
from datasets.sources import chestxray14, chexpert, mimic_cxr
from datasets.sources.rows import SourceRows


class Reader(Protocol):
    """Reads the tables below a root; ``check_files`` says whether folders may be listed to find the images."""

    def __call__(self, root: Path, *, check_files: bool) -> SourceRows: ...


READERS: dict[str, Reader] = {
    "chexpert": chexpert.read,
    "chestxray14": chestxray14.read_whole,
    "chestxray14_5.6k": chestxray14.read_sample,
    "mimic_cxr": mimic_cxr.read,
}


def reader_of(dataset: str) -> Reader:
    """The reader of a dataset.

    Raises:
        InputError: for an unknown name, with the known ones.
    """
    if dataset not in READERS:
        raise InputError(f"unknown dataset {dataset!r}; known: {', '.join(READERS)}")
    return READERS[dataset]
