"""Write the five lines on speed of README.md from the JSON files, between two marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import OTHER_PIXELS
from datasets.files import read_json, write_text

BEGIN, END = "<!-- speed: written by python -m benchmarks.page.write benchmarks -->\n", "<!-- speed ends -->\n"
RAW_PAGES = ("opencv_pages", "spdl_pages", "opencv_pages_uint8")
"""Peers that read raw pages, as ours does."""
STEPS = {"ours": "ours", "ours_compiled": "compiled", "careful": "a careful loop", "careful_compiled": "it compiled"}


def write_speed(folder: Path) -> None:
    """Replace the lines in the README.md beside ``folder``, if it has the marks."""
    readme = folder.resolve().parent / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN in text and END in text:
        before, _, rest = text.partition(BEGIN)
        write_text(readme, before + BEGIN + speed(folder) + END + rest.partition(END)[2])


def speed(folder: Path) -> str:
    """The lines of what was measured; every figure is a median of a JSON file of ``folder``."""
    loader, convert = _rows(folder / "loader.json"), _rows(folder / "convert.json")
    lines = [
        f"float32 batches, three channels, rotated, flipped, normalised: {_beside(loader, 'raw_float32')}; the "
        f"fastest from JPEGs: {_fastest(loader, 'raw_float32', whatever_is_read=True)}; from the PNGs: "
        f"{_rate(loader, 'torch_png')}",
        f"uint8 batches from JPEGs, rotated and flipped: {_beside(loader, 'jpeg_uint8')}; from raw pages: "
        f"{_beside(loader, 'raw_uint8')}; JPEGs decoded and no more: {_beside(loader, 'jpeg_pages')}",
        f"conversion of 1024 x 1024 PNGs on one core: {_beside(convert, 'ours_png_one')}, with all workers: "
        f"{_beside(convert, 'ours_png_all')}; of 2544 x 3056 JPEGs with all workers: "
        f"{_beside(convert, 'ours_reduced_all')}",
        _first_batch(folder / "first_batch.json"),
        *map(_steps, _newest_on_a_gpu(folder)),
    ]
    about = read_json(folder / "loader.json")["environment"]
    head = (
        f"Images/s, medians; ours first, in brackets the fastest peer that does the same work; "
        f"{about['cpu']}, {about['cores']} cores, {about['gpu'] or 'no GPU'}:"
    )
    shown = "".join(f"- {line[:1].upper()}{line[1:]}.\n" for line in lines)
    return f"\n{head}\n\n{shown}\n![images per second of loaders](benchmarks/loader.png)\n\n"


def _rows(path: Path) -> dict[str, Mapping[str, Any]]:
    """Measured rows by name."""
    rows = read_json(path)["rows"] if path.is_file() else []
    return {row["name"]: row for row in rows if row["images_per_s"] is not None}


def _rate(rows: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return f"{rows[name]['title']} {rows[name]['images_per_s']:,.0f}" if name in rows else "not measured"


def _fastest(rows: Mapping[str, Mapping[str, Any]], name: str, *, whatever_is_read: bool = False) -> str:
    """The fastest peer whose output is that of row ``name``, and which reads the same, or anything but raw pages."""
    ours = rows.get(name, {})
    peers = [
        one
        for one in rows.values()
        if one["output"] == ours.get("output")
        and not one["ours"]
        and one["name"] not in OTHER_PIXELS
        and (one["name"] not in RAW_PAGES if whatever_is_read else one.get("reads") == ours.get("reads"))
    ]
    return _rate(rows, max(peers, key=lambda one: float(one["images_per_s"]))["name"]) if peers else ""


def _beside(rows: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Images/s of ours, and the fastest peer in brackets."""
    peer = _fastest(rows, name)
    ours = f"**{rows[name]['images_per_s']:,.0f}**" if name in rows else "not measured"
    return f"{ours} ({peer})" if peer else ours


def _first_batch(path: Path) -> str:
    rows = read_json(path)["rows"] if path.is_file() else []
    found = next((row["seconds"] for row in rows if "collector" in row["start"]), None)
    return "first batch of a second start: " + ("not measured" if found is None else f"after {found:.1f} s")


def _newest_on_a_gpu(folder: Path) -> list[Path]:
    """The newest measurement of steps on a GPU, if there is one."""
    environments = {path: read_json(path)["environment"] for path in folder.glob("step*.json")}
    found = [(about["date"], path) for path, about in environments.items() if about["gpu"]]
    return [max(found)[1]] if found else []


def _steps(path: Path) -> str:
    """Whole steps of attention transfer of DenseNet-121 on a GPU."""
    about, rows = read_json(path)["environment"], _rows(path)
    names = {loop: f"attention_transfer_121 {loop} whole step" for loop in STEPS}
    rates = ", ".join(
        f"{title} {rows[names[loop]]['images_per_s']:,.0f}" for loop, title in STEPS.items() if names[loop] in rows
    )
    return (
        f"whole steps of attention transfer, DenseNet-121, {about['precision']}, on an {about['gpu']} with torch "
        f"{about['versions']['torch']}: {rates}"
    )
