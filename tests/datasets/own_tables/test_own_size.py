"""What opening and splitting a large table of one's own costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from small_dataset import command_environment

ROWS = 100_000
SPEC = """
name = "large"
patient = "patient"
study = "study"
age = "age"
[[tables]]
file = "images.csv"
[[tables]]
file = "labels.csv"
on = { study = "case" }
[image]
file = "{folder}/{image}.png"
[view]
column = "view"
[attributes]
site = "site"
[[labels]]
positive = ["yes"]
negative = ["no"]
names = ["Edema", "Mass", "Nodule", "Hernia", "Fibrosis", "Pneumonia"]
"""
CODE = r"""
import re, time
from pathlib import Path
from datasets.own_tables.read import open_spec
from datasets.sources.records import read_records
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks
begun = time.process_time()
records = read_records(*open_spec(Path("spec.toml")), check_files=False)
splits = assign_splits(records, SplitConfig())
ranks = subset_ranks(records.frame["name"], splits, 0)
# Not getrusage's maximum, in which a process inherits that of the one that started it.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
print(len(ranks), len(records.rejects), (ranks >= 0).sum(), time.process_time() - begun, peak)
"""


def test_a_hundred_thousand_rows_in_two_tables_open_in_seconds(tmp_path: Path) -> None:
    """A million take under 10 s and 2 GB; a tenth of it, with what loading pandas takes anyway."""
    rng = np.random.default_rng(0)
    numbers = np.arange(ROWS)
    images = {
        "image": numbers,
        "folder": numbers % 50,
        "patient": rng.integers(0, 30_000, ROWS),
        "study": numbers // 2,
    }
    words = {"age": rng.integers(1, 90, ROWS), "view": rng.choice(["PA", "LL"], ROWS), "site": numbers % 3}
    pd.DataFrame({**images, **words}).to_csv(tmp_path / "images.csv", index=False)
    names = SPEC.rpartition("[")[2].strip("]\n").replace('"', "").split(", ")
    labels = pd.DataFrame(rng.choice(["yes", "no", ""], (ROWS // 2, len(names))), columns=names)
    labels.assign(case=numbers[: ROWS // 2]).to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "spec.toml").write_text(SPEC)
    environment = {**command_environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    rows, rejects, train, seconds, peak_kb = map(float, done.stdout.split())
    assert (rows, rejects) == (ROWS, 0) and 0.78 * ROWS < train < 0.82 * ROWS
    assert seconds < 4.0
    assert peak_kb < 600_000
