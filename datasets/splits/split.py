"""Split images by patient and rank the train images for nested subsets, by a seed.

No patient is in two splits, and nothing depends on the order of rows.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.errors import InputError
from datasets.sources.labels import SPLITS
from datasets.sources.records import Records
from datasets.sources.tables import read_lines, values_of

NOT_RANKED = -1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How images are split; the same config and the same patients give the same split everywhere."""

    kind: Literal["random", "official"] = "random"
    """``random``: 80/10/10 by patient; ``official``: what the dataset's own tables say (see ``official_splits``)."""
    seed: int = 0
    """Seed of the patients' permutation and of the subsets, unless one of the next two is given."""
    split_seed: int | None = None
    """Seed of the patients' permutation alone."""
    subset_seed: int | None = None
    """Seed of the subsets alone."""
    test_ids: Path | None = None
    """File of test patients, one id a line; the other patients are split 8:1."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.kind not in ("random", "official"):
            raise InputError(f"split kind = {self.kind!r} is unknown; known: random, official")
        for name, seed in (("split", self.seed_of_split), ("subset", self.seed_of_subsets)):
            if not 0 <= seed < 2**63:
                raise InputError(f"{name} seed = {seed} must lie in 0..2**63 - 1")
        if self.kind == "official" and self.test_ids is not None:
            raise InputError("an official split fixes its own test patients; give either it or a file of test ids")

    @property
    def seed_of_split(self) -> int:
        """Seed of the patients' permutation."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def seed_of_subsets(self) -> int:
        """Seed of the nested subsets."""
        return self.seed if self.subset_seed is None else self.subset_seed


def split_patients(patients: Iterable[str], seed: int, test_patients: frozenset[str] = frozenset()) -> dict[str, str]:
    """Split of each patient: a pure function of the set of ids and the seed.

    Without ``test_patients``: the sorted ids are permuted by ``numpy.random.default_rng(seed)`` and cut at int(0.8 n)
    and int(0.9 n) into train, validation, test. With them: those are the test, and the others, sorted and permuted in
    the same way, are cut at int(8/9 n) into train and validation.
    """
    rest = sorted(set(patients) - test_patients)
    n = len(rest)
    order = np.random.default_rng(seed).permutation(n)
    cuts = (8 * n // 9, n) if test_patients else (8 * n // 10, 9 * n // 10)
    names = np.repeat(SPLITS, [cuts[0], cuts[1] - cuts[0], n - cuts[1]])
    result = dict.fromkeys(sorted(set(patients) & test_patients), "test")
    result.update((rest[at], str(name)) for at, name in zip(order, names, strict=True))
    return result


def assign_splits(records: Records, config: SplitConfig) -> npt.NDArray[Any]:
    """Split of each record.

    Returns:
        (N,) of str: train, validation or test.

    Raises:
        InputError: no official split in the tables, or a file of test ids that cannot be used.
    """
    if config.kind == "official":
        return official_splits(records, config.seed_of_split)
    test = frozenset[str]() if config.test_ids is None else read_test_ids(config.test_ids, records.patients)
    return _split_of(records.frame["patient"], split_patients(records.patients, config.seed_of_split, test))


def official_splits(records: Records, seed: int) -> npt.NDArray[Any]:
    """(N,) of str from the tables' own split.

    MIMIC-CXR-JPG names all three parts, which are taken as they are. Where a dataset names two, the second is the
    test, and validation patients are taken out of the first by the seed, one patient in nine:

    - ChestX-ray14: test_list.txt is the test; train_val_list.txt is cut into train and validation.
    - VinDr-CXR: its test part is the test, and validation images come out of its train part.
    - CheXpert and MIMIC-CXR v1: the official test is not public, so **the official valid part is the test here**, and
      validation patients come out of the official train part.

    Raises:
        InputError: images without an official split, or a patient in two parts.
    """
    frame = records.frame
    official = frame["official_split"].to_numpy(dtype=np.str_)
    nowhere = int((official == "").sum())
    if nowhere:
        raise InputError(
            f"{records.root}: {nowhere:,} of {len(frame):,} images have no official split; ChestX-ray14 needs "
            "train_val_list.txt and test_list.txt, MIMIC-CXR-JPG its split table, and the sample has none"
        )
    parts = frame.groupby("patient")["official_split"].nunique()
    if (parts > 1).any():
        raise InputError(f"{records.root}: patient {parts.idxmax()} is in more than one part of the official split")
    if set(official) >= set(SPLITS):
        return official
    held_out = {"validation", "test"} & set(official)
    if len(held_out) != 1 or "train" not in official:
        raise InputError(f"{records.root}: the official split has only {', '.join(sorted(set(official)))}")
    test = frozenset(frame["patient"][official == held_out.pop()])
    return _split_of(frame["patient"], split_patients(records.patients, seed, test))


def _split_of(patients: pd.Series, split: dict[str, str]) -> npt.NDArray[Any]:
    """(N,) of str, as few bytes each as numpy can do with: these are kept as long as the records are."""
    codes, known = pd.factorize(patients)
    of_known = np.array([SPLITS.index(split[patient]) for patient in known.tolist()], dtype=np.int64)
    return np.array(SPLITS, dtype=object)[of_known[codes]]


def read_test_ids(path: Path, patients: Sequence[str]) -> frozenset[str]:
    """Patients named in a file, one id a line: '3', '00003', 'patient00003' and 'p00003' are the same patient.

    Where ids are no numbers that tell patients apart, as 'id_1a2b', they are compared as they stand. Ids may be
    repeated, as in lists with one line an image; '00000003_001.png', an image of ChestX-ray14, is one of patient 3.
    Those of patients whom the dataset does not have are passed over with a warning: published lists were made from
    other releases.

    Raises:
        InputError: a line that is not an id, or no id of this dataset at all.
    """
    lines, _ = read_lines(path)
    known: dict[int | str | None, str] = {_patient_number(patient): patient for patient in patients}
    numbered = len(known) == len(patients) and None not in known
    if not numbered:
        known = dict(zip(patients, patients, strict=True))
    asked = set[int | str]()
    for number, line in enumerate(lines, start=1):
        patient = _patient_number(line) if numbered else line
        if patient is None:
            raise InputError(f"{path}, entry {number}: {line!r} is not a patient id; expected one number a line")
        asked.add(patient)
    found = frozenset(known[number] for number in asked if number in known)
    if not found:
        raise InputError(f"{path}: none of its {len(asked):,} patient ids is in the dataset")
    if len(found) < len(asked):
        absent = len(asked) - len(found)
        logger.warning("%s: %s of %s patients are not in the dataset", path, f"{absent:,}", f"{len(asked):,}")
    return found


def _patient_number(patient: str) -> int | None:
    match = re.fullmatch(r"(?:patient|p)?(\d+)(?:_\d+\.png)?", patient, flags=re.IGNORECASE)
    return None if match is None else int(match[1])


def subset_ranks(names: Iterable[str], splits: npt.ArrayLike, seed: int) -> npt.NDArray[np.int64]:
    """Rank of each train image in one permutation of them; -1 elsewhere. Subset n is ranks 0 to n-1, so subsets nest.

    An image's place follows from a hash of its name and the seed, so that an image that is lost or refused changes no
    other image's order. Pass ``Records.frame["name"]``, which is the same for every copy of a dataset, not ``path``.

    Returns:
        (N,) int64 in the order of ``names``.
    """
    salt, length = seed.to_bytes(16, "little"), len(np.asarray(splits))
    texts = values_of(names) if isinstance(names, pd.Series) else names
    digests = (hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest() for name in texts)
    keys = np.fromiter((int.from_bytes(digest, "big") for digest in digests), dtype=np.uint64, count=length)
    train = np.flatnonzero(np.asarray(splits) == "train")
    order = train[np.argsort(keys[train], kind="stable")]
    ranks = np.full(length, NOT_RANKED, dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
