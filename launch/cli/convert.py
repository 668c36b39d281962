"""``cxr convert``: turn a dataset's tables and images into a beton with its companions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from launch.cli.dataset_choice import DatasetChoice

if TYPE_CHECKING:
    import numpy as np

    from datasets.sources.records import Records


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn a dataset's images and tables into one beton file, the form that training reads.

    Every image is decoded to 8-bit gray, resized and cropped once. OUT.beton, OUT.beton.json (counts, hashes, what
    was left out and why) and OUT.samples.parquet (patients, splits) belong together. Re-run the same command to
    resume an interrupted conversion; it does nothing when the beton is there already.

    For example:
        cxr convert chestxray14 --root /data/nih --out data/chestxray14.beton
    """

    dataset: tyro.conf.Positional[DatasetChoice]
    """Which dataset's layout to expect below ROOT."""
    root: Path
    """The dataset's folder or its parent, as it was downloaded."""
    out: Path
    """The beton to write, such as data/chexpert.beton."""
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
    uncertain: Literal["zero", "one", "ignore"] = "zero"
    """What an uncertain label (-1) becomes: negative, positive, or left out of the loss."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """Which projections are kept."""
    split: Literal["random", "official"] = "random"
    """``random``: 80/10/10 by patient; ``official``: the dataset's own."""
    seed: int = 0
    """Seed of the random split and of the nested training subsets (1k, 5k, 50k), as in 'cxr split'."""
    split_seed: int | None = None
    """Seed of the split alone; default: the --seed."""
    subset_seed: int | None = None
    """Seed of the subsets alone; default: the --seed."""
    test_ids: Path | None = None
    """File of test patients, one id a line; the others are split 8:1."""
    manifest: Path | None = None
    """Take splits and subsets from this file of 'cxr split' instead."""
    max_rejects: float = 0.01
    """Stop when more than this fraction of the images is missing or unusable."""
    on_error: Literal["reject", "stop"] = "reject"
    """``reject``: leave an unusable image out and list it; ``stop``: end at the first."""
    overwrite: bool = False
    """Replace OUT even if it is there."""

    def run(self) -> None:
        """Convert, or say that the beton is there already; print what it holds."""
        from datasets.convert.pool import start_fork_server

        self._check()
        if not self.out.exists():  # what is whole already needs no decoders
            start_fork_server()
        self._convert()
        from rich.console import Console

        from datasets.beton.reader import Beton
        from datasets.beton.summary import render

        Console().print(render(Beton.open(self.out)))

    def _convert(self) -> None:
        from datasets.convert.convert import convert
        from datasets.convert.request import ConvertOptions
        from datasets.sources.records import read_records

        records = read_records(self.dataset, self.root, uncertain=self.uncertain, views=self.views)
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
        convert(records, splits, ranks, self.out, options)

    def _check(self) -> None:
        from datasets.errors import InputError

        if self.out.suffix != ".beton":
            raise InputError(f"--out {self.out}: the name must end in .beton")
        if self.manifest is not None and (self.split != "random" or self.test_ids is not None):
            raise InputError("--manifest already says how images are split; leave out --split and --test-ids")
        if self.manifest is not None and (self.seed, self.split_seed, self.subset_seed) != (0, None, None):
            raise InputError("--manifest already says how images are split; leave out the seeds")

    def _split(self, records: Records) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Splits and subset ranks of the records, and how they were made."""
        from datasets.files import sha256_file
        from datasets.splits.manifest import apply_manifest, read_manifest, split_settings
        from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

        if self.manifest is not None:
            splits, ranks = apply_manifest(records, read_manifest(self.manifest))
            return splits, ranks, {"manifest": sha256_file(self.manifest)}
        config = SplitConfig(
            kind=self.split,
            seed=self.seed,
            split_seed=self.split_seed,
            subset_seed=self.subset_seed,
            test_ids=self.test_ids,
        )
        splits = assign_splits(records, config)
        ranks = subset_ranks(records.frame["name"], splits, config.seed_of_subsets)
        return splits, ranks, split_settings(config)
