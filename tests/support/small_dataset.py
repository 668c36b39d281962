"""A dataset in ChestX-ray14's layout with made-up pictures, and its records, for the converter's tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from image_kinds import encode, picture
from PIL import Image

from datasets.sources.records import Records, read_records
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

FINDINGS = ("No Finding", "Mass|Edema", "Hernia", "Cardiomegaly", "Effusion|Infiltration")


def write_dataset(root: Path, num_images: int, side: int = 40) -> Path:
    """``num_images`` PNGs of patients with two images each, and their table."""
    folder = root / "images_001" / "images"
    folder.mkdir(parents=True)
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(num_images):
        name = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
        (folder / name).write_bytes(encode(Image.fromarray(picture(side + 8, side, number)), "PNG", compress_level=1))
        finding = FINDINGS[number % len(FINDINGS)]
        lines.append(f"{name},{finding},0,{number // 2 + 1},{20 + number % 60},{'MF'[number % 2]},PA")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    return root


def image_path(root: Path, number: int) -> Path:
    return root / "images_001" / "images" / f"{number // 2 + 1:08d}_{number % 2:03d}.png"


def read_dataset(root: Path) -> tuple[Records, np.ndarray, np.ndarray]:
    records = read_records("chestxray14", root)
    splits = assign_splits(records, SplitConfig())
    return records, splits, subset_ranks(records.frame["name"], splits, 0)


def three_files(beton: Path) -> list[bytes]:
    """The bytes of a beton and its companions."""
    companions = (beton.with_name(f"{beton.name}.json"), beton.with_suffix(".samples.parquet"))
    return [path.read_bytes() for path in (beton, *companions)]


def session_members(session: int) -> list[int]:
    """Processes of a session that are still running."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def command_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
