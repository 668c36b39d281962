"""Register datasets: what splitting, conversion, planning, reports and the command line know of each.

An entry names its reader as ``module:function``; the module, and with it pandas, is imported when tables are read. A
dataset of another package is registered by an entry point of the group ``cxr_harness.datasets`` (see
``docs/extending.md``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from datasets.errors import InputError, known_words
from datasets.registry import Registry
from datasets.sources.labels import (
    CHESTXRAY14_LABELS,
    CHEXPERT_LABELS,
    PADCHEST_LABELS,
    RSNA_LABELS,
    VINDR_LABELS,
)

if TYPE_CHECKING:
    from datasets.sources.rows import SourceRows


class Reader(Protocol):
    """Reads the tables below a root; ``check_files`` says whether folders may be listed to find the images."""

    def __call__(self, root: Path, *, check_files: bool) -> SourceRows: ...


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """What the harness knows of one dataset."""

    title: str
    """In reports: ``CheXpert``."""
    reader: str
    """``module:function`` of a ``Reader``."""
    labels: tuple[str, ...]
    """Label names in the order of the targets."""
    split_sizes: Mapping[str, int]
    """Images by split, for plans made before there is a beton: 80 and 10 percent of the published dataset."""
    part_of: str | None = None
    """The dataset that this one is a sample of; patients and images have the same names in both."""
    xrv_weights: tuple[str, ...] = ()
    """The published weights of torchxrayvision that were trained on its images, by a split of their own."""
    phantom: str | None = None
    """``module:LAYOUT`` of a ``datasets.phantom.layout.Layout``, where ``cxr phantom`` can write the dataset."""


DATASETS = Registry[DatasetEntry]("dataset", "cxr_harness.datasets")
WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Names that datasets may have: they become names of files and of run folders."""

JOINT = "+"
"""Stands between the names of datasets that are read as one: ``chexpert+chestxray14``."""

_ENTRIES = {
    "chexpert": DatasetEntry(
        title="CheXpert",
        reader="datasets.sources.readers.chexpert:read",
        labels=CHEXPERT_LABELS,
        split_sizes={"train": 178_834, "validation": 22_101},
        xrv_weights=("all", "chex"),
        phantom="datasets.phantom.chexpert:LAYOUT",
    ),
    "chestxray14": DatasetEntry(
        title="ChestX-ray14",
        reader="datasets.sources.readers.chestxray14:read_whole",
        labels=CHESTXRAY14_LABELS,
        split_sizes={"train": 90_265, "validation": 11_031},
        xrv_weights=("all", "nih", "rsna"),  # RSNA's images are a part of these
        phantom="datasets.phantom.chestxray14:LAYOUT",
    ),
    "chestxray14_5.6k": DatasetEntry(
        title="ChestX-ray14 5.6k",
        reader="datasets.sources.readers.chestxray14:read_sample",
        labels=CHESTXRAY14_LABELS,
        split_sizes={"train": 4_482, "validation": 561},
        part_of="chestxray14",
        xrv_weights=("all", "nih", "rsna"),
    ),
    "mimic_cxr": DatasetEntry(
        title="MIMIC-CXR",
        reader="datasets.sources.readers.mimic_cxr:read",
        labels=CHEXPERT_LABELS,
        split_sizes={"train": 301_688, "validation": 37_711},
        xrv_weights=("all", "mimic_nb", "mimic_ch"),
        phantom="datasets.phantom.mimic_cxr:LAYOUT",
    ),
    "rsna_pneumonia": DatasetEntry(
        title="RSNA Pneumonia",
        reader="datasets.sources.readers.rsna:read",
        labels=RSNA_LABELS,
        split_sizes={"train": 21_347, "validation": 2_668},
        part_of="chestxray14",
        xrv_weights=("all", "nih", "rsna"),
        phantom="datasets.phantom.rsna:LAYOUT",
    ),
    "padchest": DatasetEntry(
        title="PadChest",
        reader="datasets.sources.readers.padchest:read",
        labels=PADCHEST_LABELS,
        split_sizes={"train": 128_944, "validation": 15_853},
        xrv_weights=("all", "pc"),
        phantom="datasets.phantom.padchest:LAYOUT",
    ),
    "vindr_cxr": DatasetEntry(
        title="VinDr-CXR",
        reader="datasets.sources.readers.vindr:read",
        labels=VINDR_LABELS,
        split_sizes={"train": 14_400, "validation": 1_800},
        phantom="datasets.phantom.vindr:LAYOUT",
    ),
    "brax": DatasetEntry(
        title="BRAX",
        reader="datasets.sources.readers.brax:read",
        labels=CHEXPERT_LABELS,
        split_sizes={"train": 32_773, "validation": 4_096},
        phantom="datasets.phantom.brax:LAYOUT",
    ),
}
for _name, _entry in _ENTRIES.items():
    DATASETS.add(_name, _entry)


def dataset_entry(name: str) -> DatasetEntry:
    """The entry of a dataset.

    Raises:
        InputError: for an unknown name, with the known ones.
    """
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def parts_of(name: str) -> tuple[str, ...]:
    """The datasets that are read as one under this name; of a single dataset itself."""
    return tuple(name.split(JOINT))


def parse_subset(subset: str) -> int | None:
    """Number of training images that a subset name stands for: ``1k`` is 1,000, ``full`` is None.

    Raises:
        InputError: for any other name.
    """
    if subset == "full":
        return None
    match = re.fullmatch(r"([1-9]\d{0,8})(k?)", subset, re.ASCII)
    if match is None:
        raise InputError(f"subset = {subset!r} is unknown; use full or a count such as 1k, 5k, 50k or 200")
    return int(match[1]) * (1000 if match[2] else 1)


def entry_or_own(name: str) -> DatasetEntry:
    """The entry of a dataset; of a user's own one, which only its beton describes, what can be said of any.

    The title of several datasets that are read as one is made of theirs.
    """
    if name in DATASETS:
        return DATASETS[name]
    title = " + ".join(entry_or_own(part).title for part in parts_of(name)) if JOINT in name else name
    return DatasetEntry(title=title, reader="", labels=(), split_sizes={})


def share_images(first: str, second: str) -> bool:
    """Whether two datasets, or one with itself, hold the same images by name, as far as the registry knows."""
    ours, theirs = ({entry_or_own(part).part_of or part for part in parts_of(name)} for name in (first, second))
    return not ours.isdisjoint(theirs)


def beton_of(dataset: str, data_dir: Path) -> Path:
    """Where the beton of a dataset lies in a folder of betons, or would lie; see ``datasets.beton.mixed.open_beton``.

    Raises:
        InputError: for a name that is not registered and has no beton there, with the known ones.
    """
    if JOINT in dataset:
        for part in parts_of(dataset):
            beton_of(part, data_dir)
        return data_dir / f"{dataset}.beton"
    path = data_dir / f"{dataset}.beton"
    if dataset not in DATASETS and not path.exists() and not path.with_name(f"{path.name}.json").exists():
        own = (found.name.removesuffix(".beton.json") for found in sorted(data_dir.glob("*.beton.json")))
        raise InputError(
            f"data.dataset = {dataset!r} is unknown: it is not registered, and {data_dir} (--data-dir) holds no "
            f"{path.name}; "
            f"{known_words(dataset, dict.fromkeys([*DATASETS, *own]))}"
        )
    return path


def beton_files(path: Path) -> tuple[Path, ...]:
    """The files that are read for a beton: itself, or for a name ``A+B.beton`` without a file those of its parts."""
    names = parts_of(path.name.removesuffix(".beton"))
    return (path,) if len(names) == 1 or path.exists() else tuple(path.with_name(f"{name}.beton") for name in names)


def mixed_content(parts: Mapping[str, str]) -> str:
    """Content hash of several betons that are read as one, of theirs by dataset, in their order."""
    return f"sha256:{hashlib.sha256(json.dumps(list(parts.items())).encode()).hexdigest()}"
