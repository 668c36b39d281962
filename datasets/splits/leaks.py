"""Find patients and images that two splits, or two datasets, share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import pandas as pd

from datasets.beton.mixed import MixedBeton
from datasets.beton.reader import Beton
from datasets.sources.labels import SPLITS

SHOWN = 3
MAX_COMPARED = 10_000
"""Pairs of pages with equal checksums whose pixels are compared; more are taken for equal."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What two groups of samples have in common."""

    kind: str
    """patients, or images."""
    between: str
    count: int
    examples: tuple[str, ...]
    blank: bool = False
    """Whether all shared images are of one gray level, which tells nothing of a patient."""

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.kind} in {self.between}: {', '.join(self.examples)}{more}"


def leaks_between_splits(beton: Beton) -> list[Leak]:
    """Patients, and images of equal pixels, that stand in two splits of one beton."""
    samples, found = beton.samples, list[Leak]()
    split = samples["split"].to_numpy()
    for first, second in combinations(SPLITS, 2):
        between = f"both {first} and {second}"
        here, there = np.flatnonzero(split == first), np.flatnonzero(split == second)
        found += shared_names(samples["patient"].iloc[here], samples["patient"].iloc[there], "patients", between)
        found += shared_images(beton, here, beton, there, between)
    return found


def leaks_between_parts(mix: MixedBeton) -> list[Leak]:
    """Images of equal pixels that stand in the train split of one part and in another split of another part."""
    numbers, indices = mix.places
    train = mix.samples["split"].to_numpy() == "train"
    found = list[Leak]()
    for (first, here), (second, there) in permutations(enumerate(mix.parts), 2):
        between = f"both the training of {here.sidecar.dataset} and the validation or test of {there.sidecar.dataset}"
        seen, tested = indices[train & (numbers == first)], indices[~train & (numbers == second)]
        found += shared_images(here, seen, there, tested, between)
    return found


def shared_images(first: Beton, here: np.ndarray, second: Beton, there: np.ndarray, between: str) -> list[Leak]:
    """Images among ``there`` of the second beton whose page is one of ``here`` of the first; at most one leak.

    Checksums are compared, and then the pixels: among 200,000 images some have equal checksums by chance.
    """
    if first.image_size != second.image_size:
        return []
    left = pd.DataFrame({"crc32": first.samples["crc32"].to_numpy()[here], "here": here})
    right = pd.DataFrame({"crc32": second.samples["crc32"].to_numpy()[there], "there": there})
    pairs = right.merge(left.drop_duplicates("crc32"), on="crc32")
    same, blank = list[int](), True
    for number, (a, b) in enumerate(zip(pairs["here"], pairs["there"], strict=True)):
        if number >= MAX_COMPARED:
            same.append(int(b))
            continue
        page = second.page(int(b))
        if np.array_equal(first.page(int(a)), page):
            same.append(int(b))
            blank = blank and page.min() == page.max()
    if not same:
        return []
    examples = tuple(map(str, second.samples["path"].iloc[sorted(same)[:SHOWN]]))
    return [Leak(kind="images", between=between, count=len(same), examples=examples, blank=bool(blank))]


def shared_names(seen: Iterable[str], tested: Iterable[str], kind: str, between: str) -> list[Leak]:
    """Patients or images by name that are in both; at most one leak."""
    both = sorted(set(seen) & set(tested))
    return [Leak(kind=kind, between=between, count=len(both), examples=tuple(both[:SHOWN]))] if both else []
