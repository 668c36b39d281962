"""``cxr split``: split a dataset by patient, write the manifest, print the counts behind it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from launch.cli.dataset_choice import DatasetChoice

if TYPE_CHECKING:
    import numpy as np

    from datasets.sources.records import Records

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Split a dataset by patient and write the manifest, with counts of rows, patients and images.

    For example:
        cxr split chestxray14 --root /data/nih --out nih.split.csv --seed 0

    The manifest is a CSV of path, patient, split and subset rank; anyone with the same dataset can check and use it.
    Rows that cannot be used are listed in a second CSV beside it, OUT.rejects.csv.
    """

    dataset: tyro.conf.Positional[DatasetChoice]
    """Which dataset lies below the root."""
    root: Path
    """Folder of the dataset, or its parent."""
    out: Path
    """The manifest to write, a CSV."""
    seed: int = 0
    """Seed of the patients' permutation and of the nested training subsets, as in 'cxr convert'."""
    split_seed: int | None = None
    """Seed of the patients' permutation alone; default: the --seed."""
    subset_seed: int | None = None
    """Seed of the subsets alone; default: the --seed."""
    test_ids: Path | None = None
    """File of test patients, one id a line; the other patients are split 8:1 into train and validation."""
    official: bool = False
    """Use the dataset's own split. ChestX-ray14: validation comes out of train_val_list by the seed. CheXpert: its
    valid part becomes the test, and validation comes out of train by the seed."""
    uncertain: Literal["zero", "one", "ignore"] = "zero"
    """What an uncertain label becomes in the counts of positives."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """Keep only one projection."""
    json: bool = False
    """Print the counts as JSON."""

    def run(self) -> None:
        """Write the manifest and print the counts."""
        from datasets.sources.records import read_records
        from datasets.splits.manifest import write_manifest
        from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

        config = SplitConfig(
            kind="official" if self.official else "random",
            seed=self.seed,
            split_seed=self.split_seed,
            subset_seed=self.subset_seed,
            test_ids=self.test_ids,
        )
        logger.info("reading %s below %s", self.dataset, self.root)
        records = read_records(self.dataset, self.root, uncertain=self.uncertain, views=self.views)
        splits = assign_splits(records, config)
        ranks = subset_ranks(records.frame["name"], splits, config.seed_of_subsets)
        write_manifest(self.out, records, splits, ranks, config)
        rejects_file = _write_rejects(self.out, records)
        counts = summary(records, splits)
        for warning in _warnings(counts, rejects_file):
            logger.warning(warning)
        document = {**counts, "manifest": str(self.out), "rejects_file": rejects_file}
        print(json.dumps(document, indent=2) if self.json else _text(document))


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


def _warnings(counts: dict[str, Any], rejects_file: str | None) -> list[str]:
    found = []
    if rejects_file is not None:
        found.append(f"{sum(counts['rejects'].values()):,} rows cannot be used; they are listed in {rejects_file}")
    for split, part in counts["splits"].items():
        if not part["images"]:
            found.append(f"the {split} split is empty")
            continue
        absent = [label for label, n in part["positives"].items() if n == 0]
        if absent:
            found.append(
                f"no positive in {split} for {', '.join(absent)}: no AUROC there; another seed may do better"
            )
    return found


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
