"""``cxr inspect``: print what a beton holds, and check that it is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro


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
        """Print the summary.

        Raises:
            InputError: if the beton is not whole, or ``--verify`` finds something altered.
        """
        from datasets.beton.reader import Beton
        from datasets.beton.summary import describe, render
        from datasets.beton.verify import verify
        from datasets.errors import InputError

        beton = Beton.open(self.file)
        problems = verify(beton) if self.verify else []
        if self.json:
            checked = {"verified": self.verify, "whole": not problems, "problems": problems}
            print(json.dumps({**describe(beton), **checked} if not problems else checked, indent=2))
        elif not problems:
            from rich.console import Console

            Console().print(render(beton))
            if self.verify:
                print(f"all {beton.num_samples:,} images read back as they were written")
        if problems:
            more = f" (and {len(problems) - 1} more, see --json)" if len(problems) > 1 else ""
            raise InputError(f"{self.file}: {problems[0]}{more}; convert the dataset again")
