"""``cxr phantom`` and ``cxr inspect``: make datasets up, and print what a beton holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """Write made-up chest-radiograph-like images in the exact on-disk layouts of three real datasets.

    They are drawn by formulas from a seed. They try and test the harness without patient data and never stand in for
    results on real data.

    For example:
        cxr phantom data/phantom --patients 800 --seed 1 --size 128
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder for the datasets: new, empty, or written by an earlier call (which then goes on or adds to it)."""
    patients: int
    """Patients per dataset, at least 5; expect 1.5 to 2.5 images per patient."""
    seed: int = 0
    """Same seed, patients and size give the same files, whatever the number of workers."""
    size: int = 320
    """Shorter side of the images in pixels."""
    workers: int | None = None
    """Processes that draw; default: the cores this process may use."""
    datasets: str = "chexpert,chestxray14,mimic_cxr"
    """Which datasets to write, with commas between; call again with other numbers for the others."""

    def run(self) -> None:
        from datasets.phantom.write import write_phantom

        written = write_phantom(
            self.directory,
            [name.strip() for name in self.datasets.split(",")],
            patients=self.patients,
            seed=self.seed,
            size=self.size,
            workers=self.workers,
        )
        for each in written:
            state = "written" if each.fresh else "there already"
            print(f"{each.folder}: {self.patients:,} patients, {each.images:,} made-up images, {state}")


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Print what a beton holds: images, labels, splits, hashes, and what was left out; refuse one that is not whole.

    For example:
        cxr inspect data/chexpert.beton --verify
    """

    file: tyro.conf.Positional[Path]
    """The .beton file; its companions lie beside it."""
    json: bool = False
    """Print JSON alone on standard output."""
    verify: bool = False
    """Also read every image and compare it with its checksum."""

    def run(self) -> None:
        from datasets.beton.reader import Beton
        from datasets.beton.summary import describe, render
        from datasets.beton.verify import verify

        beton = Beton.open(self.file)
        problems = verify(beton) if self.verify else []
        if self.json:
            checked = {"verified": self.verify, "whole": not problems, "problems": problems}
            print(json.dumps({**describe(beton), **checked} if not problems else checked, indent=2))
        elif not problems:
            from launch.terminal import print_whole

            print_whole(render(beton))
            if self.verify:
                print(f"all {beton.num_samples:,} images read back as they were written")
        if problems:
            more = f" (and {len(problems) - 1} more, see --json)" if len(problems) > 1 else ""
            raise InputError(f"{self.file}: {problems[0]}{more}; convert the dataset again")
