"""Medians, spreads, ratios, and the page and chart that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_machine import MACHINE

from benchmarks.common.contenders import FFMPEG_EDGE, LOADER_RATIOS, LOADERS, Contender, Ratio
from benchmarks.common.results import Row, as_json, ratios, spread
from benchmarks.conversion.contenders import CONVERT_RATIOS, CONVERTERS
from benchmarks.page.missed import missed
from benchmarks.page.readme import BEGIN, END, speed
from benchmarks.page.sections import again
from benchmarks.page.write import results, write_results
from datasets.files import write_json

RATIO_NAMES = {
    "float32_over_torch_jpeg",
    "float32_over_opencv",
    "float32_over_opencv_raw_pages",
    "float32_over_spdl_raw_pages",
    "flips_over_ffcv",
    "uint8_over_opencv_raw_pages",
    "jpeg_float32_over_fastest",
    "jpeg_uint8_over_opencv",
    "jpeg_decode_over_fastest",
    "float32_over_spdl",
    "float32_over_dali_cpu",
    "float32_over_torch_png",
    "uint8_augmented_over_opencv",
    "uint8_pages_over_opencv",
    "uint8_over_memcpy",
    "resident_over_raw",
    "jpeg_decode_over_ffcv_rgb",
}

RATES = {"raw_float32": 9000.0, "opencv_pages": 3000.0, "spdl_pages": 2500.0, "spdl": 2400.0, "spdl_opencv": 2000.0}


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
        **MACHINE,
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
    assert {"png_over_pil", "large_jpeg_over_pil", "png_core_over_kornia"} <= set(CONVERT_RATIOS)
    known = {contender.name for contender in (*LOADERS, *CONVERTERS)}
    assert len(known) == len(LOADERS) + len(CONVERTERS)
    for ratio in (LOADER_RATIOS | CONVERT_RATIOS).values():
        assert {ratio.ours, *ratio.others} <= known
        assert ratio.least < ratio.aim


def test_the_page_shows_every_figure_and_names_what_is_absent(tmp_path: Path) -> None:
    """Of contenders that are there; one that makes other pixels says so in its row."""
    rows = [row("raw_pages", 1234.0, 1250.0, ours=True), row("memcpy", 2500.0, 2600.0), row("spdl"), row("gone", 9.0)]
    write_results(measured("loader", rows, {"uint8_over_memcpy": 0.487, "resident_over_raw": None}), tmp_path)
    page = write_results(measured("convert", [row("ours_png_one", 9.0, 10.0)], {"png_over_pil": 3.3}), tmp_path)
    text = page.read_text()
    assert "| **ours, raw_pages** | 1,242 | 8.0 | 1,234 | 1,250 | 2 |" in text
    assert f"| title of spdl; {FFMPEG_EDGE} | absent: not installed |" in text and "title of gone" not in text
    assert "| uint8_over_memcpy | 0.49 | 0.3 | 0.7 | reached |" in text
    assert "| resident_over_raw | not measured | 1.5 | 4 |  |" in text
    assert "| png_over_pil | 3.30 | 3 | 4 | reached |" in text
    assert text.index("## A processor, 2 cores, 8.0 GB, no GPU\n") < text.index("### Loaders\n")
    assert text.index("### Loaders\n") < text.index("(loader.png)") < text.index("### Conversion\n")
    for kind in ("loader", "convert"):
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_each_table_is_followed_by_the_line_that_measures_it_again(tmp_path: Path) -> None:
    found = measured("loader", [row("raw_pages", 9.0), row("memcpy", 9.0)], {"uint8_over_memcpy": 1.0})
    found["environment"]["command"] = "cxr bench loader --out d --only raw_pages memcpy spdl --rounds 3 --json x.json"
    blocks = write_results(found, tmp_path).read_text().split("\n\n")
    after = [blocks[number + 1] for number, block in enumerate(blocks) if block.startswith("|")]
    assert after == [
        "Again: `cxr bench loader --rounds 3 --only raw_pages memcpy`",
        "Again: `cxr bench loader --only raw_pages memcpy spdl --rounds 3`",
    ]
    science = "python -m benchmarks.science --out here"
    assert again({"command": science}) == f"Again: `{science}`"


def test_a_missed_ratio_has_its_reason_or_says_that_none_is_known(tmp_path: Path) -> None:
    write_json(tmp_path / "reasons.json", {"resident_over_raw": "one memory", "uint8_over_memcpy": "not shown"})
    found = {
        "resident_over_raw": 1.4,
        "uint8_over_memcpy": 0.3,
        "float32_over_dali_cpu": 3.9,
        "float32_over_opencv": None,
    }
    text = write_results(measured("loader", [], found), tmp_path).read_text()
    lines = ["- resident_over_raw: one memory", "- float32_over_dali_cpu: no reason is known yet"]
    assert "Missed, and what is in the way:\n\n" + "\n".join(lines) + "\n\n" in text
    assert "not shown" not in text
    steps = {"data_wait_share": 0.02, "overhead_share": 0.02, "validation": 1.7}
    assert missed({"ratios": steps}, {}) == [
        "Missed, and what is in the way:\n\n- data_wait_share, validation: no reason is known yet"
    ]


def test_a_chart_of_nothing_is_still_a_chart(tmp_path: Path) -> None:
    write_results(measured("loader", [row("spdl")], {}), tmp_path)
    assert (tmp_path / "loader.png").stat().st_size > 0


def test_conversion_is_compared_with_peers_that_do_the_same_on_as_many_cores() -> None:
    """But for the two ratios over a script with Pillow, which say so by their names."""
    output = {contender.name: contender.output for contender in CONVERTERS}
    for name, ratio in CONVERT_RATIOS.items():
        assert name.endswith("_over_pil") or {output[ratio.ours]} == {output[other] for other in ratio.others}
    over_all = CONVERT_RATIOS["png_workers_over_fastest"].others
    assert over_all == ("pillow_png_all", "kornia_png_all", "opencv_png_all", "torchcodec_png_all")


@pytest.mark.parametrize(("value", "word"), [(0.2, "missed"), (0.3, "reached"), (0.7, "aim reached")])
def test_a_ratio_is_compared_with_its_aims(tmp_path: Path, value: float, word: str) -> None:
    text = write_results(measured("loader", [], {"uint8_over_memcpy": value}), tmp_path).read_text()
    assert f"| {value:.2f} | 0.3 | 0.7 | {word} |" in text


def test_the_page_has_a_section_for_each_machine(tmp_path: Path) -> None:
    """Of an older torch is said so; what nobody delivered is a line; a chart is shown where there is one."""
    rows = [row("raw_pages", 4.0, 6.0, ours=True), row("raw_device")]
    newer = measured("loader", rows, {"resident_over_raw": 1.25})
    newer["rows"][1] |= {"output": "on the GPU", "absent": "needs a CUDA device"}
    older = measured("loader", rows[:1], {"resident_over_raw": 1.75})
    older["environment"] |= {"gpu": "a GPU", "versions": {"torch": "2.11.0+cu130"}, "memory_gb": 16.0}
    write_json(tmp_path / "loader-gpu.json", older)
    of_steps = {**measured("step", rows[:1], {"validation": 2.0}), "steps": []}
    of_steps["environment"] |= {"gpu": "a GPU", "precision": "bf16"}
    write_json(tmp_path / "step-gpu-bf16.json", of_steps)
    write_json(tmp_path / "first_batch.json", {**measured("first_batch", [], {}), "rows": []})
    page = write_results(newer, tmp_path).read_text()
    first, second = page.index("## A processor, 2 cores, 8.0 GB, no GPU\n"), page.index("2 cores, 16.0 GB, a GPU\n")
    assert first < page.index("### First batch") < second < page.index("### Training steps in bf16")
    assert "1.25 | 1.5 | 4 | missed" in page[first:second] and "1.75 | 1.5 | 4 | reached" in page[second:]
    assert (
        "(loader.png)" in page[first:second]
        and page[second:].count(".png") == page[second:].count("(loader-gpu.png)") == 1
    )
    assert "Not measured: on the GPU (needs a CUDA device)." in page and "#### On the GPU" not in page
    said = "**Of an older version**: measured with torch 2.11; the newest figures here are of 2.14."
    assert page.count("Of an older version") == 1 and f"### Loaders\n\n{said}\n\n" in page[second:]


def test_the_page_beside_the_figures_is_the_one_that_they_make() -> None:
    """``python -m benchmarks.page.write benchmarks`` writes it."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    assert (folder / "RESULTS.md").read_text(encoding="utf-8") == "\n\n".join(results(folder)) + "\n"
    assert BEGIN + speed(folder) + END in (folder.parent / "README.md").read_text(encoding="utf-8")


def test_readme_names_the_fastest_peer_of_the_same_work(tmp_path: Path) -> None:
    """The lines are between two marks, and hold what was measured; what is around them stays."""
    rows = [row(name, rate, ours=name.startswith(("raw", "jpeg"))) for name, rate in RATES.items()]
    found = measured("loader", rows, {})
    for one in found["rows"]:
        one["reads"] = "raw pages" if one["name"] in ("raw_float32", "opencv_pages", "spdl_pages") else "JPEG"
    (tmp_path / "README.md").write_text(f"# Before\n{BEGIN}old\n{END}after\n")
    write_results(found, tmp_path / "benchmarks")
    text = (tmp_path / "README.md").read_text()
    assert text == f"# Before\n{BEGIN}{speed(tmp_path / 'benchmarks')}{END}after\n"
    assert (
        "normalised: **9,000** (title of opencv_pages 3,000); the fastest from JPEGs: title of spdl_opencv 2,000;"
        in text
    )
    assert "conversion" in text.lower() and "on one core: not measured" in text and "old" not in text


def test_readme_names_the_steps_of_the_newest_gpu_and_of_no_cpu(tmp_path: Path) -> None:
    write_results(measured("loader", [row("raw_float32", 9.0, ours=True)], {}), tmp_path)
    assert "whole steps" not in speed(tmp_path).lower()
    for name, gpu, date in (("", None, "2026-12-03"), ("-new", "H200", "2026-12-02"), ("-old", "old", "2026-12-01")):
        about = {"date": date, "gpu": gpu, "precision": "bf16", "versions": {"torch": "2.14.1"}}
        rows = [{"name": "attention_transfer_121 ours whole step", "images_per_s": 1234.0, "title": "ours"}]
        write_json(tmp_path / f"step{name}.json", {"environment": about, "rows": rows})
    said = "Whole steps of attention transfer, DenseNet-121, bf16, on an H200 with torch 2.14.1: ours 1,234.\n"
    assert said in speed(tmp_path)
