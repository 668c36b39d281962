"""The converter's memory hardly depends on the number of images: that of its processes together is compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_kinds import encode, picture
from PIL import Image
from small_dataset import command_environment

FEW, MANY = 1000, 20_000
BYTES_AN_IMAGE = 400
"""Paths, names, labels and checksums, with what allocators lose between them; about 200 in a larger dataset."""
WORKING_BYTES = 8 << 20
"""Blocks and messages under way, which a short conversion may end without ever having had at once."""


def dataset(root: Path, num_images: int) -> Path:
    """Many names for ten small JPEGs."""
    folder = root / "images_001" / "images"
    folder.mkdir(parents=True)
    sources = [root / f"{number}.jpg" for number in range(10)]
    for number, source in enumerate(sources):
        source.write_bytes(encode(Image.fromarray(picture(48, 48, number)), "JPEG", quality=80))
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(num_images):
        name = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
        os.link(sources[number % len(sources)], folder / name)
        lines.append(f"{name},No Finding,0,{number // 2 + 1},50,F,PA")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    return root


def family(process: int) -> list[int]:
    """A process and all below it."""
    try:
        children = [(task / "children").read_text() for task in Path(f"/proc/{process}/task").iterdir()]
    except OSError:
        return []
    return [process, *(member for text in children for child in text.split() for member in family(int(child)))]


def memory_of(processes: list[int]) -> int:
    """Resident memory of processes together, but for files that are mapped; what some of them share counts once."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon"))
    return total


def peak_of_conversion(root: Path, out: Path) -> int:
    """Peak memory of ``cxr convert`` and its workers together, in bytes."""
    command = [sys.executable, "-m", "launch.cli", "convert", "chestxray14", "--root", str(root), "--out", str(out)]
    with subprocess.Popen(
        [*command, "--size", "64", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=command_environment(),
    ) as process:
        peak = 0
        while process.poll() is None:
            members = family(process.pid)
            found = memory_of(members)
            # While one ends, what it shared passes to the others and would count twice.
            peak = max(peak, found if family(process.pid) == members else 0)
            time.sleep(0.02)
    assert process.returncode == 0
    return peak


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc as Linux has it")
def test_memory_is_nearly_flat_in_the_number_of_images(tmp_path: Path) -> None:
    few, many = (
        peak_of_conversion(dataset(tmp_path / str(num), num), tmp_path / f"{num}.beton") for num in (FEW, MANY)
    )
    print(f"{FEW:,} images: {few:,} bytes; {MANY:,}: {many:,}")
    assert many - few < (MANY - FEW) * BYTES_AN_IMAGE + WORKING_BYTES
