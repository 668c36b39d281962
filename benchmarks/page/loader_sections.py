"""Write the results page in Markdown: every figure, its spread and its circumstances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import AIMS, CONVERT_RATIOS, LOADER_RATIOS
from benchmarks.page.other_sections import other_sections
from datasets.files import read_json

KINDS = ("loader", "convert")
NOTES = "notes.md"
"""Kept by hand beside the figures: where an aim is missed, what is in the way."""
TITLES = {"loader": "Loaders", "convert": "Conversion"}


def results_page(folder: Path, read: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of RESULTS.md from the measurements ``read`` by kind, with the notes of ``folder``."""
    parts = [
        "# Measured",
        "Written by `cxr bench loader --out DIR`, `cxr bench convert --out DIR` and `python -m benchmarks.page.write "
        "DIR` from the JSON files beside it.",
    ]
    parts += [section(read[kind]) for kind in KINDS if kind in read]
    parts += _on_other_machines(folder)
    parts += other_sections(folder, _rates)
    notes = folder / NOTES
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def _on_other_machines(folder: Path) -> list[str]:
    """The loaders of each ``loader-MACHINE.json`` that was measured without a GPU."""
    measured = [read_json(path) for path in sorted(folder.glob("loader-*.json"))]
    return [
        section(one, title=f"Loaders on {one['environment']['cpu']}", chart=False)
        for one in measured
        if one["environment"]["gpu"] is None
    ]


def section(measured: Mapping[str, Any], *, title: str | None = None, chart: bool = True) -> str:
    """One benchmark: circumstances, one table for each output, the ratios and the chart."""
    environment = measured["environment"]
    kind = environment["kind"]
    outputs = list(dict.fromkeys(row["output"] for row in measured["rows"] if chart or row["absent"] is None))
    parts = [f"## {title or TITLES[kind]}", _circumstances(environment), environment["note"]]
    for output in outputs:
        parts += [
            f"### {output[:1].upper()}{output[1:]}",
            _rates([r for r in measured["rows"] if r["output"] == output]),
        ]
    wanted = LOADER_RATIOS if kind == "loader" else CONVERT_RATIOS
    parts += ["### Ratios", _ratios(measured["ratios"], wanted)]
    if "mimic_tables" in measured:
        parts += ["### Opening MIMIC-CXR's tables", _tables(measured["mimic_tables"])]
    if chart:
        parts.append(f"![images per second]({kind}.png)")
    return "\n\n".join(parts)


def _circumstances(environment: Mapping[str, Any]) -> str:
    pictures = "made-up radiographs" if environment["made_up"] else "radiographs"
    if environment["kind"] == "loader":
        work = (
            f"{environment['samples']:,} samples of {environment['radiographs']:,} {pictures}, "
            f"{environment['size']}x{environment['size']}, batches of {environment['batch_size']}, "
            f"{environment['workers']} workers, {environment['seconds']:g} s for each contender and round"
        )
    else:
        work = (
            f"{environment['png']:,} PNG and {environment['large']:,} large JPEG files "
            f"({environment['large_jpeg_bytes'] / 1e6:.1f} MB each) for each pass, from "
            f"{environment['radiographs']:,} {pictures}; {environment['workers']} workers"
        )
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    lines = [
        f"- command: `{environment['command']}`",
        f"- what: {work}",
        f"- machine: {environment['cpu']}, {environment['cores']} cores, {environment['memory_gb']} GB"
        + (f", {environment['gpu']}" if environment["gpu"] else ", no GPU"),
        f"- system: {environment['system']}, Python {environment['python']}",
        f"- versions: {versions}",
        f"- commit {environment['commit']}, {environment['date']}, load average {environment['load_average']} before "
        f"and {environment['load_average_after']} after",
    ]
    return "\n".join(lines)


def _rates(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| contender | images/s, median | spread (IQR) | lowest | highest | rounds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: -(row["images_per_s"] or 0.0)):
        title = f"**{row['title']}**" if row["ours"] else row["title"]
        if row["images_per_s"] is None:
            lines.append(f"| {title} | absent: {_one_line(row['absent'])} | | | | |")
            continue
        figures = (row["images_per_s"], row["spread"], min(row["values"]), max(row["values"]))
        cells = " | ".join(_rate(value) for value in figures)
        lines.append(f"| {title} | {cells} | {row['rounds']} |")
    return "\n".join(lines)


def _ratios(found: Mapping[str, float | None], wanted: Iterable[str]) -> str:
    lines = ["| ratio | measured | at least | aim | |", "|---|---:|---:|---:|---|"]
    for name in wanted:
        least, aim = AIMS[name]
        value = found.get(name)
        shown = "not measured" if value is None else f"{value:.2f}"
        lines.append(f"| {name} | {shown} | {least:g} | {aim:g} | {_verdict(value, least, aim)} |")
    return "\n".join(lines)


def _tables(found: Mapping[str, Any]) -> str:
    return (
        f"{found['images']:,} images, splits and subsets included: {found['seconds']:.2f} s (median of "
        f"{len(found['rounds'])}, spread {found['spread_s']:.2f} s; imports take {found['import_s']:.2f} s more), "
        f"peak memory of the process {found['peak_bytes'] / 1e6:,.0f} MB. At least: 10 s and 1 GB; aim: 3 s."
    )


def _verdict(value: float | None, least: float, aim: float) -> str:
    if value is None:
        return ""
    return "aim reached" if value >= aim else "reached" if value >= least else "missed"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _one_line(text: str | None) -> str:
    return (text or "").replace("\n", " ").replace("|", "/")[:160]
