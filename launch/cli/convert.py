"""``cxr split`` and ``cxr convert``: turn a dataset's tables and images into a manifest of splits, into a beton."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from datasets.errors import InputError
from datasets.sources.registry import DATASETS

if TYPE_CHECKING:
    import numpy as np

    from datasets.sources.records import Records
    from datasets.splits.split import SplitConfig

logger = logging.getLogger(__name__)


def _dataset_choice() -> Any:
    """One of the registered names, those of other packages included."""
    return Literal[tuple(DATASETS)]


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How the patients of any dataset are split."""

    uncertain: Literal["zero", "one", "ignore"] = "zero"
    """What an uncertain label (-1) becomes: negative, positive, or left out of the loss."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """Which projections are kept."""
    seed: int = 0
    """Seed of the random split by patient and of the nested training subsets (1k, 5k, 50k)."""
    split_seed: int | None = None
    """Seed of the split alone; default: the --seed."""
    subset_seed: int | None = None
    """Seed of the subsets alone; default: the --seed."""
    test_ids: Path | None = None
    """File of test patients, one id a line; the others are split 8:1 into train and validation."""
    max_rejects: float = 0.01
    """Stop when more than this fraction of the images is missing or unusable."""

    def read(self) -> Records:
        """Read the dataset's tables."""
        raise NotImplementedError

    def split_config(self, kind: Literal["random", "official"]) -> SplitConfig:
        """Return how the options split the patients; raise InputError for what does not go together."""
        from datasets.splits.split import SplitConfig

        return SplitConfig(
            kind=kind,
            seed=self.seed,
            split_seed=self.split_seed,
            subset_seed=self.subset_seed,
            test_ids=self.test_ids,
        )


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(SplitOptions):
    """A dataset as its owner distributes it."""

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(constructor_factory=_dataset_choice)]
    """Which dataset's layout to expect below ROOT."""
    root: Path
    """The dataset's folder or its parent, as it was downloaded."""

    def read(self) -> Records:
        """Read the dataset's tables."""
        from datasets.sources.records import read_records

        logger.info("reading %s below %s", self.dataset, self.root)
        return read_records(self.dataset, self.root, uncertain=self.uncertain, views=self.views)


@dataclass(frozen=True, kw_only=True)
class TableOptions(SplitOptions):
    """A dataset of one's own, described by a spec."""

    spec: Path | None = None
    """The spec, a TOML file: tables, images, patients, labels. docs/own_data.md explains its keys."""
    root: Path | None = None
    """The folder of tables and images; default: the spec's root, else the spec's own folder."""

    def read(self) -> Records:
        """Read the tables of the spec."""
        from datasets.own_tables.read import open_spec
        from datasets.sources.records import read_records

        if self.spec is None:
            raise InputError(
                "--spec: give the TOML file that describes the tables; cxr convert table --guess DIR writes one"
            )
        dataset, root = open_spec(self.spec, self.root)
        logger.info("reading %s below %s", dataset.name, root)
        return read_records(dataset, root, uncertain=self.uncertain, views=self.views)


def _assign(records: Records, config: SplitConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the split and the subset rank of each image."""
    from datasets.splits.split import assign_splits, subset_ranks

    splits = assign_splits(records, config)
    return splits, subset_ranks(records.frame["name"], splits, config.seed_of_subsets)


@dataclass(frozen=True, kw_only=True)
class SplitCommand(SplitOptions):
    """What splitting any dataset takes."""

    out: Path
    """The manifest to write, a CSV."""
    official: bool = False
    """Use the dataset's own split. ChestX-ray14: validation comes out of train_val_list by the seed. CheXpert: its
    valid part becomes the test, and validation comes out of train by the seed."""
    json: bool = False
    """Print the counts as JSON."""

    def run(self) -> None:
        from datasets.sources.records import RejectGuard
        from datasets.splits.manifest import write_manifest

        config = self.split_config("official" if self.official else "random")
        records = self.read()
        rejects_file = _write_rejects(self.out, records)
        if rejects_file is not None:
            logger.warning("%s rows cannot be used; they are listed in %s", f"{len(records.rejects):,}", rejects_file)
        RejectGuard(records, self.max_rejects)
        splits, ranks = _assign(records, config)
        write_manifest(self.out, records, splits, ranks, config)
        counts = summary(records, splits)
        _warn(counts)
        document = {**counts, "manifest": str(self.out), "rejects_file": rejects_file}
        print(json.dumps(document, indent=2) if self.json else _text(document))


@dataclass(frozen=True, kw_only=True)
class Split(SplitCommand, DatasetOptions):
    """Split a dataset by patient and write the manifest, with counts of rows, patients and images.

    For example:
        cxr split chestxray14 --root /data/nih --out nih.split.csv --seed 0

    The manifest is a CSV of path, patient, split and subset rank; anyone with the same dataset can check and use it.
    Rows that cannot be used are listed in a second CSV beside it, OUT.rejects.csv.
    """


@dataclass(frozen=True, kw_only=True)
class SplitTable(SplitCommand, TableOptions):
    """Split a dataset of one's own by patient, as 'cxr split' does the registered ones.

    For example:
        cxr split table --spec hospital.toml --out hospital.split.csv
    """


def summary(records: Records, splits: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Counts of a split dataset as plain JSON values."""
    from datasets.sources.labels import IGNORED, POSITIVE, SPLITS

    parts: dict[str, Any] = {}
    for split in SPLITS:
        inside = splits == split
        targets = records.targets[inside]
        parts[split] = {
            "images": int(inside.sum()),
            "patients": int(records.frame["patient"][inside].nunique()),
            "positives": dict(zip(records.labels, (targets == POSITIVE).sum(axis=0).tolist(), strict=True)),
            "ignored": int((targets == IGNORED).sum()),
        }
    return {
        "dataset": records.dataset,
        "root": str(records.root),
        "tables": {table.name: table.num_rows for table in records.tables},
        "num_images": len(records.frame),
        "num_patients": int(records.frame["patient"].nunique()),
        "num_table_patients": len(records.patients),
        "splits": parts,
        "dropped": records.dropped,
        "rejects": {str(reason): int(n) for reason, n in records.rejects["reason"].value_counts().items()},
    }


def _write_rejects(out: Path, records: Records) -> str | None:
    """List the refused rows beside the manifest; a list left by an earlier run is removed when there are none."""
    from datasets.files import replacing

    path = out.with_name(f"{out.name}.rejects.csv")
    if records.rejects.empty:
        path.unlink(missing_ok=True)
        return None
    with replacing(path) as partial:
        records.rejects.to_csv(partial, index=False, lineterminator="\n")
    return str(path)


def _warn(counts: dict[str, Any]) -> None:
    """Warn of what training or scoring on this split would miss."""
    for split, part in counts["splits"].items():
        absent = ", ".join(label for label, n in part["positives"].items() if n == 0)
        if not part["images"]:
            logger.warning("the %s split is empty", split)
        elif absent:
            logger.warning("no positive in %s for %s: no AUROC there; another seed may do better", split, absent)


def _text(document: dict[str, Any]) -> str:
    rows = ", ".join(f"{name} {count:,}" for name, count in document["tables"].items())
    lines = [f"{document['dataset']}: rows of {rows}"]
    if document["num_table_patients"] != document["num_patients"]:
        lines.append(f"  the tables name {document['num_table_patients']:,} patients")
    lines.append(f"{'':<12}{'images':>10}{'patients':>10}")
    for split, part in document["splits"].items():
        lines.append(f"{split:<12}{part['images']:>10,}{part['patients']:>10,}")
    lines.append(f"{'all':<12}{document['num_images']:>10,}{document['num_patients']:>10,}")
    lines += [f"dropped: {count:,} images, {reason}" for reason, count in document["dropped"].items()]
    lines += [f"refused: {count:,} rows, {reason}" for reason, count in document["rejects"].items()]
    return "\n".join([*lines, f"manifest: {document['manifest']}"])


@dataclass(frozen=True, kw_only=True)
class ConvertCommand(SplitOptions):
    """What converting any dataset takes."""

    size: int = 256
    """Side of the square images in pixels, a multiple of 32."""
    workers: int | None = None
    """Decoder processes; default: the cores this process may use. The result does not depend on it."""
    resize: Literal["shorter", "squash"] = "shorter"
    """``shorter``: the shorter side becomes SIZE, then the centre is cropped; ``squash``: both sides become SIZE."""
    large_jpeg: Literal["reduced", "full"] = "reduced"
    """``reduced``: decode a JPEG far larger than SIZE straight to fewer pixels, several times faster and within one
    gray level nearly everywhere; ``full``: decode every pixel first, as the paper's code does."""
    encoding: Literal["raw", "jpeg"] = "raw"
    """What is stored of each image: its pixels, or a gray JPEG, which takes a quarter of the room or less but has to
    be decoded in every epoch."""
    quality: int = 95
    """Quality of these JPEGs, 1 to 100."""
    split: Literal["random", "official"] = "random"
    """``random``: 80/10/10 by patient; ``official``: the dataset's own."""
    manifest: Path | None = None
    """Take splits and subsets from this file of 'cxr split' instead."""
    on_error: Literal["reject", "stop"] = "reject"
    """``reject``: leave an unusable image out and list it; ``stop``: end at the first."""
    overwrite: bool = False
    """Replace OUT even if it is there."""

    def convert(self, out: Path) -> None:
        """Convert, or say that the beton is there already; print what it holds."""
        from datasets.convert.pool import start_fork_server

        self._check(out)
        if not out.exists():  # what is whole already needs no decoders
            start_fork_server()  # which loads them while this process imports what follows
        from datasets.beton.reader import Beton
        from datasets.beton.summary import render
        from datasets.convert.convert import convert
        from datasets.convert.request import ConvertOptions
        from launch.terminal import print_whole

        records = self.read()
        splits, ranks, settings = self._split(records)
        options = ConvertOptions(
            size=self.size,
            resize=self.resize,
            encoding=self.encoding,
            quality=self.quality,
            large_jpeg=self.large_jpeg,
            workers=self.workers,
            max_rejects=self.max_rejects,
            on_error=self.on_error,
            overwrite=self.overwrite,
            split_settings=settings,
        )
        convert(records, splits, ranks, out, options)
        print_whole(render(Beton.open(out)))

    def _check(self, out: Path) -> None:
        if out.suffix != ".beton":
            raise InputError(f"--out {out}: the name must end in .beton")
        if self.manifest is not None and (self.split != "random" or self.test_ids is not None):
            raise InputError("--manifest already says how images are split; leave out --split and --test-ids")
        if self.manifest is not None and (self.seed, self.split_seed, self.subset_seed) != (0, None, None):
            raise InputError("--manifest already says how images are split; leave out the seeds")

    def _split(self, records: Records) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Splits and subset ranks of the records, and how they were made."""
        from datasets.files import sha256_file
        from datasets.splits.manifest import apply_manifest, read_manifest, split_settings

        if self.manifest is not None:
            return *apply_manifest(records, read_manifest(self.manifest)), {"manifest": sha256_file(self.manifest)}
        config = self.split_config(self.split)
        return *_assign(records, config), split_settings(config)


@dataclass(frozen=True, kw_only=True)
class Convert(ConvertCommand, DatasetOptions):
    """Turn a dataset's images and tables into one beton file, the form that training reads.

    Every image is decoded to 8-bit gray, resized and cropped once. OUT.beton, OUT.beton.json (counts, hashes, what
    was left out and why) and OUT.samples.parquet (patients, splits) belong together. Re-run the same command to
    resume an interrupted conversion; it does nothing when the beton is there already. 'cxr convert table' takes
    tables of one's own.

    For example:
        cxr convert chestxray14 --root /data/nih --out data/chestxray14.beton
    """

    out: Path
    """The beton to write, such as data/chexpert.beton."""

    def run(self) -> None:
        """Convert the dataset."""
        self.convert(self.out)


@dataclass(frozen=True, kw_only=True)
class ConvertTable(ConvertCommand, TableOptions):
    """Turn images and tables of one's own into a beton, as 'cxr convert' does the registered datasets.

    A spec says what the tables' columns mean; the name in it is the dataset's name from then on, so OUT should be
    DATA_DIR/NAME.beton.

    For example:
        cxr convert table --guess /data/hospital --out hospital.toml
        cxr convert table --spec hospital.toml --out data/hospital.beton
    """

    guess: Path | None = None
    """Write a first spec of the tables and images in this folder, with counts and doubts as comments, and convert
    nothing."""
    out: Path | None = None
    """The beton to write, such as data/hospital.beton; with --guess the spec, which is else printed."""

    def run(self) -> None:
        """Convert the tables of the spec, or guess one."""
        if self.guess is not None:
            self._guess(self.guess)
        elif self.out is None:
            raise InputError("--out: give the beton to write, such as data/hospital.beton")
        else:
            self.convert(self.out)

    def _guess(self, folder: Path) -> None:
        from datasets.files import write_text
        from datasets.own_tables.guess import guess_spec

        if self.spec is not None:
            raise InputError("--guess writes a spec and --spec reads one; choose one")
        if self.out is not None and (self.out.suffix != ".toml" or (self.out.exists() and not self.overwrite)):
            wrong = "is there already; --overwrite replaces it" if self.out.exists() else "the name must end in .toml"
            raise InputError(f"--out {self.out}: {wrong}")
        text = guess_spec(folder)
        if self.out is None:
            print(text, end="")
        else:
            write_text(self.out, text)
            logger.info(
                "%s: a first spec; look through its comments, then convert with --spec %s", self.out, self.out
            )
