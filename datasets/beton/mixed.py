"""Read several betons as one, without copying their pages: the one that merging them under a new name would write."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.beton.reader import Beton, nested
from datasets.beton.sidecar import OF_A_BETON, SAMPLE_COLUMNS, is_uncertain_column
from datasets.errors import InputError
from datasets.sources.labels import IGNORED, POSITIVE
from datasets.sources.registry import JOINT, beton_files, entry_or_own, mixed_content

if TYPE_CHECKING:
    import pandas as pd

    from datasets.beton.pages import MixedPages

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Joined:
    """The samples of several betons, sorted by path as in a conversion of all images at once."""

    samples: pd.DataFrame
    """As ``Beton.samples``; index and subset_rank are still those of the parts."""
    labels: tuple[str, ...]
    """Those of all parts, each once."""
    targets: np.ndarray
    """(N, L) uint8; a label that a part lacks is ignored in its images."""
    order: np.ndarray
    """(N,) int64: where each sample stands among those of the first part, followed by the second's, and so on."""


def join(betons: Sequence[Beton], *, mixed: bool) -> Joined:
    """Join the samples of betons; a patient whom they put in different splits takes the split of the first.

    With ``mixed`` they are of several datasets: paths, names, patients and studies begin with the dataset's name, and
    the column ``dataset`` says it.

    Raises:
        InputError: for an image that is in two of them.
    """
    import pandas as pd

    frames = [with_dataset(beton) if mixed else beton.samples for beton in betons]
    samples = _one_split_a_patient(betons, pd.concat(frames, ignore_index=True))
    order = np.asarray(samples["path"].array.argsort(kind="stable"))
    samples = samples.iloc[order].reset_index(drop=True)
    marks = [name for name in samples if is_uncertain_column(name)]
    known = {*SAMPLE_COLUMNS, *OF_A_BETON, *marks}
    attributes = [name for name in samples if name not in known]
    labels = tuple(dict.fromkeys(label for beton in betons for label in beton.labels))
    targets = pd.concat([pd.DataFrame(beton.targets, columns=list(beton.labels)) for beton in betons])
    targets = targets.reindex(columns=list(labels)).fillna(IGNORED).astype(np.uint8)
    return Joined(
        samples.assign(**samples[marks].eq(True), **samples[attributes].fillna("")),
        labels,
        targets.to_numpy()[order],
        order,
    )


def refuse_unlike(betons: Sequence[Beton], *, mixed: bool) -> None:
    """Refuse betons that were converted differently, and without ``mixed`` those of several datasets.

    Raises:
        InputError: naming what differs.
    """
    first = betons[0]
    for beton in betons[1:]:
        for what, mine in _must_be_equal(first, mixed=mixed).items():
            theirs = _must_be_equal(beton, mixed=mixed)[what]
            if mine != theirs:
                advice = "--name NEW mixes datasets" if what in ("dataset", "labels") else "convert them alike"
                raise InputError(f"{beton.path}: {what} {theirs!r}, but {first.path} has {mine!r}; {advice}")


def _must_be_equal(beton: Beton, *, mixed: bool) -> dict[str, Any]:
    """What betons must share to be joined."""
    sidecar, keys = beton.sidecar, ("resize", "large_jpeg", "decoder", "encoding", "quality", "uncertain", "views")
    named = {} if mixed else {"dataset": sidecar.dataset, "labels": sorted(sidecar.labels)}
    settings = {key: sidecar.settings.get(key) for key in (*keys, "phantom")}
    return {**named, "image size": sidecar.image_size, **settings}


def with_dataset(beton: Beton) -> pd.DataFrame:
    """The samples with the name of their dataset in a column and before what is unique in that dataset alone.

    Datasets that hold the same images, such as ChestX-ray14 and its sample, have one name there. A mix has it so.
    """
    if isinstance(beton, MixedBeton):
        return beton.samples
    dataset = entry_or_own(beton.sidecar.dataset).part_of or beton.sidecar.dataset
    columns = ["path", "name", "patient", "study"]
    named = {column: f"{dataset}/" + beton.samples[column].astype(str) for column in columns}
    return beton.samples.assign(**named, dataset=beton.sidecar.dataset)


def _one_split_a_patient(betons: Sequence[Beton], samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with one split for each patient, that of the first beton; an image in two betons is refused."""
    names = ", ".join(str(beton.path) for beton in betons)
    again = samples["name"][samples["name"].duplicated()]
    if len(again):
        raise InputError(f"{names}: {len(again):,} images are in more than one of them, such as {again.iloc[0]}")
    splits = samples.groupby("patient", sort=False)["split"].transform("first")
    moved = samples["patient"][splits != samples["split"]].nunique()
    if moved:
        logger.info("%s patients are in several betons and take the split of the first", f"{moved:,}")
    return samples.assign(split=splits)


@dataclass(frozen=True, eq=False)
class MixedBeton(Beton):
    """Betons of several datasets read as one; ``path`` names the file that is not there."""

    parts: tuple[Beton, ...]
    joined: Joined

    @classmethod
    def of(cls, path: Path, parts: Sequence[Beton]) -> MixedBeton:
        """Join ``parts``, which must have been converted alike.

        Raises:
            InputError: for parts that differ in what must be equal, or an image that is in two of them.
        """
        from datasets.beton.content_hash import count_labels, count_splits

        refuse_unlike(parts, mixed=True)
        joined, sidecars = join(parts, mixed=True), [part.sidecar for part in parts]
        dropped = sum((Counter(sidecar.dropped) for sidecar in sidecars), Counter[str]())
        titles = [str(one.settings.get("title") or entry_or_own(one.dataset).title) for one in sidecars]
        sidecar = dataclasses.replace(
            sidecars[0],
            dataset=JOINT.join(one.dataset for one in sidecars),
            num_samples=len(joined.samples),
            num_patients=int(joined.samples["patient"].nunique()),
            labels=joined.labels,
            positives=count_labels(joined.targets, joined.labels, POSITIVE),
            ignored=count_labels(joined.targets, joined.labels, IGNORED),
            splits=count_splits(joined.samples["split"]),
            content_hash=mixed_content({one.dataset: one.content_hash for one in sidecars}),
            source_tables=[table for one in sidecars for table in one.source_tables],
            settings={**sidecars[0].settings, "title": " + ".join(titles)},
            dropped=dict(dropped),
            rejects=[reject for one in sidecars for reject in one.rejects],
        )
        return cls(path, sidecar, parts[0].layout, tuple(parts), joined)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """As ``Beton.samples``, with the column ``dataset``; subset ranks are those within each part."""
        return self.joined.samples.assign(index=np.arange(self.num_samples))

    @cached_property
    def targets(self) -> np.ndarray:
        """As ``Beton.targets``; 255 also where a part lacks the label."""
        return np.ascontiguousarray(self.joined.targets)

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) number of each sample's part and (N,) its index there."""
        starts = np.cumsum([0, *(part.num_samples for part in self.parts)])
        numbers = np.searchsorted(starts, self.joined.order, side="right") - 1
        return numbers, self.joined.order - starts[numbers]

    @cached_property
    def _splits(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        import pandas as pd

        codes, names = pd.factorize(self.joined.samples["split"])
        return [str(name) for name in names], codes, self.joined.samples["subset_rank"].to_numpy()

    def indices(self, split: str, subset: str = "full") -> np.ndarray:
        """As ``Beton.indices``; of train also a subset of each part: ``1k+full``.

        Raises:
            InputError: as there, and unless there is a subset for each part.
        """
        found, subsets = super().indices(split), subset.split(JOINT)
        if subset == "full":
            return found
        if split != "train" or len(subsets) != len(self.parts):
            expected = JOINT.join(["1k", *["full"] * (len(self.parts) - 1)])
            raise InputError(f"{self.path}: subset {subset} of split {split}; expected one of train as {expected}")
        numbers, ranks = self.places[0][found], self._splits[2].astype(np.int64)
        ranks[ranks < 0] = np.iinfo(np.int64).max  # of patients who were in another split, after all others
        chosen = [
            nested(found[numbers == number], ranks, subset, part.path)
            for number, (part, subset) in enumerate(zip(self.parts, subsets, strict=True))
        ]
        return np.sort(np.concatenate(chosen))

    def count_patients(self, indices: np.ndarray) -> int:
        """Number of patients of the images at ``indices``."""
        return int(self.samples["patient"].iloc[indices].nunique())

    def open_pages(self, *, checked: bool = True) -> MixedPages:
        """The pages of all parts, mapped anew."""
        from datasets.beton.pages import MixedPages

        numbers, indices = self.places
        parts = tuple(part.open_pages(checked=checked) for part in self.parts)
        return MixedPages(parts, numbers, indices, self.image_size)


def open_beton(path: Path) -> Beton:
    """Open a beton, or for the name ``A+B.beton`` without a file ``A.beton`` and ``B.beton`` of its folder as one.

    Raises:
        InputError: as ``Beton.open`` for each, for a part that holds another dataset, and for parts that do not fit.
    """
    files = beton_files(path)
    if files == (path,):
        return Beton.open(path)
    parts = [Beton.open(file) for file in files]
    for part in parts:
        if part.path.name != f"{part.sidecar.dataset}.beton":
            raise InputError(f"{part.path}: holds {part.sidecar.dataset}")
    return MixedBeton.of(path, parts)
