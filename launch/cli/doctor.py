"""``cxr doctor``: check machine, folders and files, and name the fix of each problem."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from launch.doctor.finding import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check what to check before asking for help; each problem comes with its fix.

    Checked are Python and packages, FFCV, numba's cache, cores, memory, disks, GPU and nvJPEG, SLURM; the betons in
    DATA_DIR, for damage and for patients or images in two splits; the runs in RUNS_DIR, for broken ones and for
    weights that have seen a test image; dataset folders and files of weights that are given. Nothing is changed.

    Exit status: 0 without a failure, 1 with one.

    For example:
        cxr doctor --data-dir data --runs-dir runs
        cxr doctor --root chexpert=/data/CheXpert-v1.0-small --json
    """

    data_dir: Path = Path()
    """Folder of betons."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    root: Annotated[
        tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="DATASET=PATH")
    ] = ()
    """A dataset as its owner distributes it: tables, missing files, a few images."""
    cluster: Path | None = None
    """A cluster profile, whose jobs are compared with the cluster; nothing is submitted."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 ImageNet file, to be looked at."""
    xrv_weights: tuple[Path, ...] = ()
    """Files of torchxrayvision weights, to be looked at."""
    json: bool = False
    """Print one JSON object alone: ok, and findings with area, level, what, fix."""

    def run(self) -> None:
        findings = list(self._shown(self._findings(self._roots())))
        failed = any(finding.level == "fail" for finding in findings)
        if self.json:
            document = {"ok": not failed, "findings": [dataclasses.asdict(finding) for finding in findings]}
            print(json.dumps(document, indent=2))
        else:
            counts = {level: sum(finding.level == level for finding in findings) for level in COLOURS}
            print(", ".join(f"{count} {level}" for level, count in counts.items()))
        if failed:
            sys.stdout.flush()
            sys.exit(1)

    def _roots(self) -> dict[str, Path]:
        from datasets.errors import InputError

        found = {}
        for text in (item for group in self.root for item in group):
            dataset, equals, path = text.partition("=")
            if not equals or not path:
                raise InputError(f"--root {text}: expected DATASET=PATH, as chexpert=/data/CheXpert-v1.0-small")
            from datasets.sources.registry import dataset_entry

            dataset_entry(dataset)
            found[dataset] = Path(path).expanduser()
        return found

    def _findings(self, roots: dict[str, Path]) -> Iterator[Finding]:
        """All checks, quick ones first."""
        from launch.doctor.data import check_betons, check_ffcv_here, check_roots, check_weights
        from launch.doctor.machine import check_folder, check_gpu, check_machine, check_mps
        from launch.doctor.runs import check_runs
        from launch.doctor.slurm import check_profile, check_slurm
        from launch.doctor.software import check_software

        yield from check_software()
        yield from check_machine()
        yield check_folder("data folder", self.data_dir)
        yield check_folder("runs folder", self.runs_dir)
        yield from check_slurm()
        if self.cluster is not None:
            yield from check_profile(self.cluster)
        yield from check_ffcv_here()
        yield from check_gpu()
        yield from check_mps()
        yield from check_betons(self.data_dir)
        yield from check_runs(self.runs_dir, self.data_dir)
        yield from check_roots(roots)
        yield from check_weights(self.imagenet_weights, self.xrv_weights)

    def _shown(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Print each finding as soon as it is there, unless JSON is asked for."""
        if self.json:
            yield from findings
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        for finding in findings:
            head = (f"{finding.level:<5}", COLOURS[finding.level])
            text = _hanging(f"{finding.area}: {finding.what}", console.width)
            console.print(Text.assemble(head, text), soft_wrap=True)
            if finding.fix:
                console.print(f"     fix: {_hanging(finding.fix, console.width - 5)}", markup=False, soft_wrap=True)
            yield finding


def _hanging(text: str, width: int) -> str:
    """Lines that start below each other, five columns in; paths stay whole."""
    lines = textwrap.wrap(text, max(20, width - 5), break_long_words=False, break_on_hyphens=False)
    return "\n     ".join(lines)
