"""Medians, spreads, ratios, and the page and chart that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.contenders import CONVERT_RATIOS, CONVERTERS, LOADER_RATIOS, LOADERS, Contender, Ratio
from benchmarks.common.results import Row, as_json, ratios, spread
from benchmarks.page.write import write_results
from datasets.files import write_json

RATIO_NAMES = {
    "float32_over_torch_jpeg",
    "float32_over_opencv",
    "float32_over_opencv_raw_pages",
    "float32_over_spdl",
    "float32_over_dali_cpu",
    "float32_over_torch_png",
    "uint8_augmented_over_opencv",
    "uint8_pages_over_opencv",
    "uint8_over_memcpy",
    "resident_over_raw",
    "jpeg_decode_over_ffcv_rgb",
}


def row(name: str, *values: float, ours: bool = False) -> Row:
    absent = None if values else "not installed"
    title = f"ours, {name}" if ours else f"title of {name}"
    return Row.of(Contender(name, title, "pages", ""), values, absent)


def measured(kind: str, rows: list[Row], found: dict[str, float | None]) -> dict[str, Any]:
    environment = {
        "kind": kind,
        "note": "How it was measured.",
        "command": f"cxr bench {kind}",
        "made_up": True,
        "radiographs": 5,
        "samples": 64,
        "png": 6,
        "large": 2,
        "large_jpeg_bytes": 1_500_000,
        "size": 32,
        "batch_size": 4,
        "workers": 2,
        "seconds": 0.5,
        "cpu": "A processor",
        "cores": 2,
        "memory_gb": 8.0,
        "gpu": None,
        "system": "Linux",
        "python": "3.11",
        "versions": {"torch": "2.14"},
        "commit": "abc",
        "date": "today",
        "load_average": 0.1,
        "load_average_after": 0.2,
    }
    return as_json(environment, rows, found)


def test_a_row_holds_median_and_interquartile_range() -> None:
    found = row("memcpy", 10.0, 30.0, 20.0, 50.0, 40.0)
    assert (found.images_per_s, found.spread, found.rounds) == (30.0, 20.0, 5)
    assert spread([7.0]) == 0.0


def test_an_absent_row_has_no_figure_but_a_reason() -> None:
    found = row("spdl")
    assert (found.images_per_s, found.spread, found.rounds, found.absent) == (None, None, 0, "not installed")


def test_a_ratio_is_ours_over_the_fastest_of_the_others() -> None:
    rows = [row("raw", 90.0), row("by_sample", 20.0), row("by_batch", 30.0), row("gone")]
    wanted = {
        "over_both": Ratio("raw", ("by_sample", "by_batch", "gone"), 1, 2),
        "over_none": Ratio("raw", ("gone",), 1, 2),
    }
    assert ratios(rows, wanted) == {"over_both": 3.0, "over_none": None}
    assert ratios(rows[1:], wanted) == {"over_both": None, "over_none": None}


def test_the_ratios_have_the_published_names_and_name_known_contenders() -> None:
    assert set(LOADER_RATIOS) == RATIO_NAMES
    assert set(CONVERT_RATIOS) == {"png_over_pil", "large_jpeg_over_pil"}
    known = {contender.name for contender in (*LOADERS, *CONVERTERS)}
    assert len(known) == len(LOADERS) + len(CONVERTERS)
    for ratio in (LOADER_RATIOS | CONVERT_RATIOS).values():
        assert {ratio.ours, *ratio.others} <= known
        assert ratio.least < ratio.aim


def test_the_page_shows_every_figure_and_names_what_is_absent(tmp_path: Path) -> None:
    rows = [row("raw_pages", 1234.0, 1250.0, ours=True), row("memcpy", 2500.0, 2600.0), row("spdl")]
    (tmp_path / "notes.md").write_text("## Why an aim is missed\n\nMemory.\n")
    write_results(measured("loader", rows, {"uint8_over_memcpy": 0.487, "resident_over_raw": None}), tmp_path)
    page = write_results(measured("convert", [row("ours_png", 9.0, 10.0)], {"png_over_pil": 3.3}), tmp_path)
    text = page.read_text()
    assert "| **ours, raw_pages** | 1,242 | 8.0 | 1,234 | 1,250 | 2 |" in text
    assert "| title of spdl | absent: not installed |" in text
    assert "| uint8_over_memcpy | 0.49 | 0.3 | 0.7 | reached |" in text
    assert "| resident_over_raw | not measured | 1.5 | 4 |  |" in text
    assert "| png_over_pil | 3.30 | 3 | 4 | reached |" in text
    assert text.rstrip().endswith("Memory.")
    assert text.index("## Loaders") < text.index("## Conversion") < text.index("## Why")
    for kind in ("loader", "convert"):
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_of_nothing_is_still_a_chart(tmp_path: Path) -> None:
    write_results(measured("loader", [row("spdl")], {}), tmp_path)
    assert (tmp_path / "loader.png").stat().st_size > 0


@pytest.mark.parametrize(("value", "word"), [(0.2, "missed"), (0.3, "reached"), (0.7, "aim reached")])
def test_a_ratio_is_compared_with_its_aims(tmp_path: Path, value: float, word: str) -> None:
    text = write_results(measured("loader", [], {"uint8_over_memcpy": value}), tmp_path).read_text()
    assert f"| {value:.2f} | 0.3 | 0.7 | {word} |" in text


def test_the_page_shows_other_machines_and_a_gpu_beside_the_first(tmp_path: Path) -> None:
    """The chart is that of the first machine; what needs a GPU is no row of a machine without one."""
    rows = [row("ours_raw", 4.0, 6.0, ours=True), row("needs_more")]
    found = measured("loader", rows, {"resident_over_raw": 1.75})
    found["rows"][1]["output"] = "on the GPU"
    write_json(tmp_path / "loader-old.json", found)
    on_gpu = measured("loader", rows[:1], {})
    on_gpu["environment"] |= {"gpu": "a GPU", "command": "cxr bench loader --only raw_device"}
    write_json(tmp_path / "loader-gpu.json", on_gpu)
    (tmp_path / "gpu.md").write_text("## On a GPU: training steps\n\nby hand\n")
    newer = measured("loader", rows, {"resident_over_raw": 1.25})
    newer["rows"][1]["output"] = "on the GPU"
    page = write_results(newer, tmp_path).read_text()
    first, old = page.index("## Loaders\n"), page.index("## Loaders on A processor")
    steps, loaders = page.index("## On a GPU: training steps"), page.index("## On a GPU: loaders")
    assert first < old < steps < loaders
    assert "1.25 | 1.5 | 4 | missed" in page[first:old] and "1.75 | 1.5 | 4 | reached" in page[old:steps]
    assert "loader.png" in page[first:old] and "loader.png" not in page[old:]
    assert "On the GPU" in page[first:old] and "On the GPU" not in page[old:steps]
    assert "`cxr bench loader --only raw_device`" in page[loaders:] and "| 5.0 |" in page[loaders:]
