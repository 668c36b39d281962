"""The report as a whole, through the command."""

from __future__ import annotations

import dataclasses
import errno
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from in_process_cli import run_cli
from parsed_page import NASTY, Page
from report_fixtures import mimic_teacher, pretraining, student, write_run

from harness.config import RunConfig, Weights
from launch.cli import main
from launch.report.build import build_report
from launch.report.write.page_data import library

CURVE = [(0.5, 0.5), (0.6, 0.55), (0.7, 0.6)]
PICTURES = [
    f"{name}.{kind}" for name in ("curves", "curves_prerequisites", "lineage", "paired") for kind in ("pdf", "png")
]
TABLES = ["methods.md", "tables.csv", "tables.md", "tables.tex"]
FILES = sorted([*PICTURES, *TABLES, "index.html", "paired.csv", "scores.csv"])


def report(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["report", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def demo_students() -> list[tuple[RunConfig, float]]:
    found = []
    for network in ("densenet121", "densenet40"):
        for teacher, value in ((None, 0.60), ("mimic_cxr", 0.70)):
            for seed in range(2):
                init = Weights(kind="run", run=pretraining(network))
                config = student(seed=seed, network=network, teacher=teacher, init=init)
                found.append((config, value + 0.02 * seed))
    return found


def write_demo(directory: Path) -> None:
    made_up = {"beton": {"phantom": True}}
    for config in (pretraining(), pretraining("densenet40"), mimic_teacher()):
        write_run(directory, config, 0.85, curve=CURVE, provenance=made_up)
    for config, value in demo_students():
        write_run(directory, config, value, curve=CURVE, provenance=made_up)


def test_the_demo_is_reported_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo(tmp_path)
    (tmp_path / NASTY.replace("/", "_")).mkdir()
    (tmp_path / NASTY.replace("/", "_") / "config.json").write_text("{")
    assert report(tmp_path) == 0
    captured = capsys.readouterr()
    assert visible(tmp_path / "report") == FILES
    assert sorted(Path(line).name for line in captured.out.splitlines()[: len(FILES)]) == FILES
    table = [line for line in captured.out.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in (table[0], *table[2:4])] == [
        ["Method", "DenseNet-121", "DenseNet-40"],
        ["Transfer learning", "61.00 ± 1.96 (n=2)", "61.00 ± 1.96 (n=2)"],
        ["Attention transfer, MIMIC-CXR teacher", *["71.00 ± 1.96 (n=2) / vs TL +10.00"] * 2],
    ]
    assert sum(line.endswith("85.00 (n=1) |") for line in table) == 3
    assert "PHANTOM DATA" in captured.out
    assert "damaged: " in captured.err
    assert "alert(1)" in captured.err


def test_every_link_of_the_page_leads_to_something(tmp_path: Path) -> None:
    runs, out = tmp_path / 'odd "runs" & <b>', tmp_path / "far" / "out"
    runs.mkdir()
    write_demo(runs)
    write_run(runs, student(seed=9, epochs=4), None)
    write_run(runs, student(seed=8), 0.5, name=NASTY.replace("/", "_"))
    build_report(runs, out)
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<b>" not in text.replace(library(), "")
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for href in page.values("a", "href"):
        if href.startswith("#"):
            assert href[1:] in anchors
        else:
            assert (out / unquote(href)).is_file(), href
    assert any("run-" in (anchor or "") for anchor in anchors)
    assert len(page.values("img", "src")) == 4


def test_a_second_report_replaces_the_first_and_is_the_same(tmp_path: Path) -> None:
    write_demo(tmp_path)
    built = build_report(tmp_path, tmp_path / "report")
    first = {path.name: path.read_bytes() for path in built.paths}
    again = build_report(tmp_path, tmp_path / "report")
    assert {path.name: path.read_bytes() for path in again.paths} == first
    assert built.data.collection.passed_over == ()
    assert visible(tmp_path / "report") == FILES


def test_a_figure_that_no_longer_applies_is_removed(tmp_path: Path) -> None:
    write_demo(tmp_path / "a")
    write_run(tmp_path / "b", student(), None)
    out = tmp_path / "out"
    build_report(tmp_path / "a", out)
    built = build_report(tmp_path / "b", out)
    assert visible(out) == ["index.html", *TABLES]
    assert "missing (1 not finished)" in built.main_markdown


def test_several_sizes_are_drawn_against_training_images(tmp_path: Path) -> None:
    for subset, value, count in (("100", 0.6, 100), ("200", 0.7, 200)):
        for seed in range(2):
            config = student(subset=subset, seed=seed)
            write_run(tmp_path, config, value + 0.01 * seed, result={"train_images": count})
    built = build_report(tmp_path, tmp_path / "report")
    assert [path.name for path in built.paths if path.suffix == ".png"] == ["auroc_by_size.png"]


def test_no_run_folder_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((tmp_path,), (tmp_path / "absent",), (tmp_path, "--out", tmp_path / "x")):
        assert report(*arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    write_run(tmp_path, student(), 0.5)
    (tmp_path / "file").write_text("")
    assert report(tmp_path, "--out", tmp_path / "file") == 2


def test_a_full_disk_is_named_with_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", student(), {"Edema": 0.8})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("launch.report.build.build_report", full)
    assert run_cli("report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")) == 2
    expected = f"error: {tmp_path / 'report'}: the disk is full; some of its files are not written: make room and "
    assert capsys.readouterr().err == f"{expected}run the same command again\n"


def test_two_hundred_folders_take_seconds(tmp_path: Path) -> None:
    """Far below what 200 folders may take on a quiet machine: 30 s, again 5 s; and what their page may weigh."""
    curve = [(0.5 + epoch / 500, 0.5 + epoch / 600) for epoch in range(128)]
    labels = {f"label {i}": 0.7 for i in range(14)}
    configs = [config for config, _ in demo_students()[::2]]
    for i in range(200):
        config = dataclasses.replace(configs[i % 4], seed=i // 4)
        write_run(tmp_path, config, labels, curve=curve)
    started = time.process_time()
    built = build_report(tmp_path, tmp_path / "report")
    assert time.process_time() - started < 30.0
    assert len(built.data.collection.runs) == 200
    started = time.process_time()
    build_report(tmp_path, tmp_path / "report")
    assert time.process_time() - started < 5.0
    assert (tmp_path / "report" / "index.html").stat().st_size < 6_000_000


@pytest.mark.parametrize("name", ["index.html", "tables.csv"])
def test_a_foreign_folder_is_kept_and_ours_is_known_again(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "site"
    write_run(runs, student(), 0.5)
    out.mkdir()
    (out / name).write_text("a page of my own")
    assert report(runs, "--out", out) == 2
    assert f"error: {out / name}: not of a cxr report" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "a page of my own")]
    (out / name).unlink()
    for _ in range(2):
        assert report(runs, "--out", out) == 0
    (out / "index.html").unlink()  # as after a report that was interrupted before its last file
    assert report(runs, "--out", out) == 0
    (out / ".cxr-report").unlink()  # as an earlier version left it
    assert report(runs, "--out", out) == 0


def test_links_in_a_report_and_to_one_stay(tmp_path: Path) -> None:
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    write_run(runs, student(), 0.5)
    kept.mkdir()
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "table.csv").write_text("")
    assert report(runs, "--out", tmp_path / "link") == 0
    (kept / "tables.csv").unlink()
    (kept / "tables.csv").symlink_to(tmp_path / "table.csv")
    assert report(runs, "--out", tmp_path / "link") == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "table.csv").read_text().startswith("table,dataset")
