"""Write a benchmark's JSON, its chart and the results page, all of whose figures come from the JSON files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common.contenders import LOADERS, Contender
from benchmarks.conversion.contenders import CONVERTERS
from benchmarks.page.chart import draw
from benchmarks.page.missed import missed
from benchmarks.page.readme import write_speed
from benchmarks.page.result import result_section
from benchmarks.page.scaling import draw_scaling, scaling_section
from benchmarks.page.sections import (
    Measured,
    first_batch_section,
    grid_section,
    loader_section,
    machine,
    node_section,
    step_section,
)
from benchmarks.page.verdict import verdict_section
from benchmarks.science.page import science_section
from datasets.files import read_json, write_json, write_text


class Section(NamedTuple):
    """A part of the page: a function of the JSON files ``KIND.json`` and ``KIND-NAME.json``."""

    kind: str
    show: Callable[[Measured], str]
    """Its Markdown, from the second level of headings on."""
    draw: Callable[[Measured, Path], None] | None = None
    """Writes the chart beside a JSON file, which the page shows below its tables."""
    contenders: tuple[Contender, ...] = ()
    """Those whose rows are shown; a figure of what is not there any more is dropped."""

    def read(self, path: Path) -> Measured:
        """The JSON, without rows of what is gone."""
        found: dict[str, Any] = read_json(path)
        names = {one.name for one in self.contenders}
        return {**found, "rows": [row for row in found["rows"] if row["name"] in names]} if names else found


SECTIONS = (
    Section("loader", loader_section, draw, LOADERS),
    Section("convert", loader_section, draw, CONVERTERS),
    Section("scaling", scaling_section, draw_scaling),
    Section("verdict", verdict_section),
    Section("result", result_section),
    Section("first_batch", first_batch_section),
    Section("step", step_section),
    Section("node", node_section),
    Section("grid", grid_section),
    Section("science", science_section),
)
"""In the order of the page, which has a section for each machine, and in it one for each that was measured."""
HEAD = (
    "# Measured",
    "Written by `python -m benchmarks.page.write DIR` from the JSON files beside it, a section for each machine. "
    "`make bench-setup` and `cxr bench all --images DIR --out DIR` write such a page of your machine, on made-up "
    "radiographs without `--images`; the line below each table measures that table alone.",
)
TAIL = """## How to read these figures

- **The measured path is the used path.** Ours is `open_tier` and the device prefetcher, exactly as `cxr train` uses
  them; on a CPU that is one fused kernel from the page to three float channels.
- **Float batches.** A core's time for one image goes, in this order, to the rotation, to spreading the gray page over
  three float channels, and to reading the page. The second part moves twelve times the bytes of a page, so memory
  bandwidth is what several cores share. Two things that cost nothing here are most of the cost elsewhere: batches do
  not cross a process border, and their memory is used again instead of being mapped and cleared for each batch.
- **Pages over memcpy.** Each memcpy thread copies whole batches and waits for nobody; a loader has to hand over each
  batch and look up its samples.
- **Conversion** starts a process for each pass on either side and counts it.
- **Peak memory of opening tables** is that of `getrusage`, which a process inherits from the one that started it: an
  upper bound here."""


class Measurement(NamedTuple):
    """One JSON file and the section that shows it."""

    section: Section
    path: Path
    found: Measured


def show_results(measured: Measured, json: Path | None, out: Path | None) -> None:
    """Print a benchmark's section, and write its JSON and its part of the results page where that was asked for."""
    write_measured(json, measured)
    environment = measured["environment"]
    print(f"# {machine(environment)}\n\n{_section(environment['kind']).show(measured)}")
    if out is not None:
        print(f"written: {write_results(measured, out)}", file=sys.stderr)


def write_measured(path: Path | None, measured: Measured, *, tell: bool = False) -> None:
    """Write the JSON if it was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(measured))
        if tell:
            print(f"written: {path}", file=sys.stderr)


def write_results(measured: Measured, folder: Path) -> Path:
    """Write ``KIND.json`` and, from all that has been measured so far, charts and page; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{measured['environment']['kind']}.json", dict(measured))
    return write_page(folder)


def write_page(folder: Path) -> Path:
    """Write ``RESULTS.md``, the charts and README's lines from all that ``folder`` has; returns the page."""
    for one in _measured(folder):
        if one.section.draw is not None:
            one.section.draw(one.found, one.path.with_suffix(".png"))
    page = folder / "RESULTS.md"
    write_text(page, "\n\n".join(results(folder)) + "\n")
    write_speed(folder)
    return page


def results(folder: Path) -> list[str]:
    """The parts of the page: a section for each machine, that of the first JSON file first."""
    measured = list(_measured(folder))
    reasons = read_json(folder / "reasons.json") if (folder / "reasons.json").is_file() else {}
    newest = max((torch_version(one.found) for one in measured), default=())
    machines: dict[tuple[object, ...], list[Measurement]] = {}
    for one in measured:
        about = one.found["environment"]
        machines.setdefault((about["cpu"], about["cores"], about["gpu"]), []).append(one)
    parts = list(HEAD)
    for group in machines.values():
        parts.append(f"## {machine(group[0].found['environment'])}")
        for one in group:
            parts += _shown(one, reasons, newest)
    return [*parts, TAIL]


def torch_version(measured: Measured) -> tuple[int, ...]:
    """Major and minor version of torch; none where there is no such figure."""
    return tuple(map(int, re.findall(r"\d+", measured["environment"]["versions"].get("torch", ""))[:2]))


def _measured(folder: Path) -> Iterator[Measurement]:
    for section in SECTIONS:
        for path in [folder / f"{section.kind}.json", *sorted(folder.glob(f"{section.kind}-*.json"))]:
            if path.is_file():
                yield Measurement(section, path, section.read(path))


def _shown(one: Measurement, reasons: Mapping[str, str], newest: Sequence[int]) -> list[str]:
    """The section of one file, its headings a level lower than below ``show``, and the chart beside the file."""
    title, _, rest = re.sub(r"^##", "###", one.section.show(one.found), flags=re.MULTILINE).partition("\n\n")
    version = torch_version(one.found)
    older = [
        f"**Of an older version**: measured with torch {'.'.join(map(str, version))}; the newest figures here are of "
        f"{'.'.join(map(str, newest))}."
    ]
    chart = one.path.with_suffix(".png")
    charts = [f"![{title.strip('# ').lower()}]({chart.name})"] if one.section.draw and chart.is_file() else []
    return [title, *(older if version < tuple(newest) else []), rest, *missed(one.found, reasons), *charts]


def _section(kind: str) -> Section:
    return next(section for section in SECTIONS if section.kind == kind)


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1])))
