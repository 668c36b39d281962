"""Measure time and memory to open MIMIC-CXR's tables of a given size, splits included.

The tables are made up, in the layout of MIMIC-CXR-JPG 2.0.0 (gzipped labels, metadata and split). Each round is a
process of its own, so that its peak memory is that of opening the tables and of nothing else.

One round: ``python -m benchmarks.conversion.mimic_tables FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.contenders import ROOT
from benchmarks.common.results import spread
from datasets.sources.labels import CHEXPERT_LABELS

NUM_IMAGES = 371_858
"""Images of MIMIC-CXR in the study whose runs the paper's grid describes."""
IMAGES_PER_STUDY, STUDIES_PER_PATIENT = 1.64, 3.5
VIEWS = ("AP", "PA", "LATERAL", "LL", "")
SPLITS = ("train", "train", "train", "train", "train", "train", "train", "train", "validate", "test")


def write_tables(root: Path, num_images: int, seed: int = 0) -> None:
    """Write the three tables of ``num_images`` images to ``root``."""
    rng = np.random.default_rng(seed)
    study_of = np.sort(rng.integers(0, max(1, round(num_images / IMAGES_PER_STUDY)), num_images))
    studies, study_of = np.unique(study_of, return_inverse=True)
    patient_of = 10_000_032 + np.sort(
        rng.integers(0, max(1, round(len(studies) / STUDIES_PER_PATIENT)), len(studies))
    )
    numbers = 50_000_000 + rng.permutation(9_999_999)[: len(studies)]
    labels = sorted(CHEXPERT_LABELS)
    cells = rng.choice(np.array(["", "1.0", "0.0", "-1.0"]), (len(studies), len(labels)), p=(0.8, 0.12, 0.05, 0.03))
    ids = {"subject_id": patient_of, "study_id": numbers}
    _write(root, "chexpert", pd.DataFrame({**ids, **dict(zip(labels, cells.T, strict=True))}))
    images = [hashlib.blake2b(str(at).encode(), digest_size=20).hexdigest() for at in range(num_images)]
    names = ["-".join(name[at : at + 8] for at in range(0, 40, 8)) for name in images]
    places = pd.DataFrame({"dicom_id": names, **{name: values[study_of] for name, values in ids.items()}})
    views = rng.choice(np.array(VIEWS), num_images, p=(0.39, 0.26, 0.22, 0.09, 0.04))
    described = places.assign(PerformedProcedureStepDescription="CHEST (PA AND LAT)", ViewPosition=views)
    _write(root, "metadata", described.assign(Rows=3056, Columns=2544))
    splits = np.array(SPLITS)[places["subject_id"] % len(SPLITS)]
    _write(root, "split", places[["dicom_id", "study_id", "subject_id"]].assign(split=splits))


def _write(root: Path, name: str, frame: pd.DataFrame) -> None:
    path = root / f"mimic-cxr-2.0.0-{name}.csv.gz"
    frame.to_csv(path, index=False, compression={"method": "gzip", "compresslevel": 1})


def open_tables(root: Path) -> dict[str, float]:
    """Read the tables, split the patients, and rank the subsets: what ``cxr convert`` does before it decodes.

    Returns:
        Seconds of opening, seconds of importing what that takes, and the peak memory of this process in bytes.
    """
    started = time.perf_counter()
    from datasets.sources.records import read_records
    from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

    imported = time.perf_counter()
    records = read_records("mimic_cxr", root, check_files=False)
    splits = assign_splits(records, SplitConfig())
    subset_ranks(records.frame["name"], splits, seed=0)
    opened = time.perf_counter()
    return {
        "images": len(records.frame),
        "seconds": opened - imported,
        "import_s": imported - started,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_tables(num_images: int = NUM_IMAGES, rounds: int = 5) -> dict[str, Any]:
    """Make the tables in a temporary folder and open them ``rounds`` times, each time in a new process.

    Returns:
        Medians of what ``open_tables`` returns, the interquartile range of the seconds, and every round's figures.
    """
    print(f"opening the tables of {num_images:,} images", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        write_tables(Path(folder), num_images)
        command = [sys.executable, "-m", "benchmarks.conversion.mimic_tables", folder]
        outputs = [
            subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout for _ in range(rounds)
        ]
    measured = [json.loads(output) for output in outputs]
    medians = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
    return {**medians, "spread_s": spread([one["seconds"] for one in measured]), "rounds": measured}


if __name__ == "__main__":
    print(json.dumps(open_tables(Path(sys.argv[1]))))
