"""Betons whose images, patients and splits are given one by one, and run folders without a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.files import write_json
from datasets.sources.records import Records
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from harness.training.preflight import write_config

Row = tuple[str, str, str, int]
"""Name, patient and split of an image, and the seed of its pixels; a negative one makes it of one gray level."""


def make_beton(folder: Path, dataset: str, rows: list[Row], *, size: int = 32) -> Beton:
    """A beton of these images, ``folder/dataset.beton``; every other one has the label Mass."""
    images = folder / f"{dataset}.images"
    images.mkdir(parents=True)
    for name, _, _, seed in rows:
        pixels = np.random.default_rng(abs(seed)).integers(0, 256, (size, size), dtype=np.uint8)
        Image.fromarray(pixels if seed >= 0 else np.full((size, size), -seed, dtype=np.uint8)).save(images / name)
    names, patients, splits, _ = (list(column) for column in zip(*rows, strict=True))
    frame = pd.DataFrame({"path": names, "name": names, "patient": patients, "study": names})
    frame = frame.assign(view="frontal", official_split="", sex="F", age=pd.array([50] * len(rows), dtype="Int16"))
    records = Records(
        dataset=dataset,
        root=images,
        labels=("Mass",),
        frame=frame,
        targets=(np.arange(len(rows), dtype=np.uint8) % 2)[:, None],
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )
    ranks = np.where(np.array(splits) == "train", np.cumsum(np.array(splits) == "train") - 1, -1)
    convert(records, np.array(splits), ranks, folder / f"{dataset}.beton", ConvertOptions(size=size, workers=1))
    return Beton.open(folder / f"{dataset}.beton")


def write_run(runs_dir: Path, config: RunConfig, content_hash: str | None, state: str = "done") -> None:
    """What ``cxr doctor`` reads of a run, as its config and its beton's hash."""
    folder = RunFolder(runs_dir / config.run_id)
    folder.path.mkdir(parents=True)
    write_config(folder, config)
    write_json(folder.provenance_file, {"content_hash": content_hash})
    write_json(folder.status_file, {"state": state, "error": "the disk is full" if state == "failed" else None})
