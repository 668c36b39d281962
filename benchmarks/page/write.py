"""Write a benchmark's JSON, its chart and the results page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page.chart import draw
from benchmarks.page.loader_sections import KINDS, results_page
from datasets.files import read_json, write_json, write_text


def write_results(measured: Mapping[str, Any], folder: Path) -> Path:
    """Write ``KIND.json``, ``KIND.png`` and, from all kinds measured so far, ``RESULTS.md``; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = measured["environment"]["kind"]
    write_json(folder / f"{kind}.json", dict(measured))
    draw(measured, folder / f"{kind}.png")
    return write_page(folder)


def write_page(folder: Path) -> Path:
    """Write ``RESULTS.md`` from all that has been measured into ``folder``; returns the page."""
    read = {name: read_json(folder / f"{name}.json") for name in KINDS if (folder / f"{name}.json").is_file()}
    page = folder / "RESULTS.md"
    write_text(page, results_page(folder, read))
    return page


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1])))
