"""``cxr phantom``, ``cxr inspect``, ``cxr beton merge``: make datasets up, print what a beton holds, merge betons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """Write made-up chest-radiograph-like images in the exact on-disk layouts of real datasets.

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
    """Which datasets to write, with commas between; call again with other numbers for the others. There are padchest,
    rsna_pneumonia, vindr_cxr and brax too, of which rsna_pneumonia and vindr_cxr need the extra 'dicom'."""

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


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge betons into one, such as last year's images and this year's; nothing is decoded anew.

    Images keep their split, but a patient of several betons has the split of the first. Subsets (1k, 5k, ...) are
    drawn anew from all training images. Re-run to resume an interrupted merge.

    With --name they may be of several datasets: labels are matched by name, and one that a dataset lacks is left out
    of loss and score of its images. The name then stands for the mix in configs and grids.

    For example:
        cxr beton merge data/2024.beton data/2025.beton --out data/clinic.beton
        cxr beton merge data/chexpert.beton data/chestxray14.beton --name both --out data/both.beton
    """

    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="BETON...")] = ()
    """Two or more betons that were converted alike."""
    out: Path
    """The beton to write."""
    name: str | None = None
    """Name of the new dataset; needed where the betons are of several."""
    subset_seed: int | None = None
    """Seed of the nested subsets; default: the one that the betons record."""
    overwrite: bool = False
    """Replace OUT even if it is there."""

    def run(self) -> None:
        """Merge, and print what the new beton holds."""
        from datasets.beton.reader import Beton
        from datasets.beton.summary import render
        from datasets.convert.merge import merge
        from launch.terminal import print_whole

        if self.out.suffix != ".beton":
            raise InputError(f"--out {self.out}: the name must end in .beton")
        merge(self.files, self.out, name=self.name, subset_seed=self.subset_seed, overwrite=self.overwrite)
        print_whole(render(Beton.open(self.out)))
