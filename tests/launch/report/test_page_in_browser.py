"""The page in a real browser: no error, no network, tables sort, links resolve, nothing overflows, print is whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from headless import Browser, browser, find_browser
from report_fixtures import mimic_teacher, pretraining, student, write_run

from harness.config import Weights
from launch.report.build import build_report
from launch.report.write.documents import without_refresh

NASTY = "x <img src=nowhere onerror=fail()> & \"quotes\" 'é' 胸 \u202e %41 $x_$"
CURVE = [(0.5, 0.5), (0.6, 0.55), (0.7, 0.6)]
SORTED_COLUMN = """(key, column) => [...document.querySelector(`#${key} ~ .scroll table`).tBodies[0].rows]
    .map(row => row.cells[column].textContent.trim())"""
BROKEN_ANCHORS = """[...document.querySelectorAll('a[href^="#"]')].map(link => link.hash.slice(1))
    .filter(id => !document.getElementById(decodeURIComponent(id)))"""
OUTSIDE = """[...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll')
    && element.getBoundingClientRect().right > innerWidth + 0.5).map(element => element.outerHTML.slice(0, 80))"""
OVERLAPPING = """(() => {
    const boxes = [...document.querySelectorAll('h1, h2, h3, p, .notes, .scroll')]
        .map(block => [block.textContent.slice(0, 60), block.getBoundingClientRect()])
        .filter(([, box]) => box.height > 0);
    return boxes.slice(1).filter(([, box], i) => box.top < boxes[i][1].bottom - 1).map(([text]) => text);
})()"""


def write_many(runs: Path) -> None:
    """All that a report can hold: prerequisites, pairs, sizes, the paper's cells, and folders of every kind."""
    for config in (pretraining(), pretraining("densenet40"), mimic_teacher()):
        write_run(runs, config, 0.85, curve=CURVE, provenance={"phantom": True})
    for network in ("densenet121", "densenet40"):
        for teacher in (None, "mimic_cxr", "imagenet"):
            for seed in range(2):
                init = Weights(kind="run", run=pretraining(network))
                config = student(seed=seed, network=network, teacher=teacher, init=init)
                labels = {"Edema": 0.6 + 0.01 * seed, NASTY: 0.7, "Enlarged Cardiomediastinum": 0.65}
                write_run(runs, config, labels, curve=CURVE)
    for subset in ("1k", "5k"):
        for teacher in (None, "mimic_cxr"):
            config = student(subset=subset, teacher=teacher, image_size=256)
            write_run(runs, config, {"Edema": 0.6, NASTY: 0.7, "Enlarged Cardiomediastinum": 0.65}, curve=CURVE)
    write_run(runs, student(seed=7, epochs=4), None, status={"state": "failed", "error": NASTY * 3})
    write_run(runs, student(seed=8), 0.5, name=NASTY.replace("/", "_"))
    (runs / "foreign <b>folder<b>").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / "config.json").write_text("<script>fail()</script>")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    find_browser()
    runs = tmp_path_factory.mktemp("page") / 'runs <i>of<i> "A & B" #1 ?x=%20'
    runs.mkdir()
    write_many(runs)
    build_report(runs, runs / "report")
    return runs / "report" / "index.html"


@pytest.fixture(scope="module")
def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def test_it_loads_without_an_error_and_asks_for_nothing_else(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    assert tab.problems == []
    assert {url for url in tab.requests if not url.startswith("data:")} == {page.as_uri()}
    assert tab.value("document.querySelectorAll('img').length") >= 4
    assert tab.value("[...document.images].every(image => image.complete && image.naturalWidth > 100)") is True


def test_names_are_text(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    assert tab.problems == []
    shown = tab.value("document.body.textContent")
    assert NASTY in shown
    assert "foreign <b>folder<b>" in shown
    assert 'runs <i>of<i> "A & B" #1 ?x=%20' in tab.value("document.querySelector('h1').textContent")
    assert tab.value("document.querySelectorAll('body b, body i, img[onerror]').length") == 0
    assert tab.value("[...document.scripts].map(script => script.id)") == ["data", "library", ""]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_or_overlaps(page: Path, tab: Browser, width: int) -> None:
    tab.open(page, width=width)
    assert tab.value("[innerWidth, document.scrollingElement.scrollWidth <= innerWidth]") == [width, True]
    assert tab.value(OUTSIDE) == []
    tab.value("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    assert tab.value(OUTSIDE) == []
    assert tab.value(OVERLAPPING) == []
    sizes = "[...document.querySelectorAll('td, th, p, a')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(tab.value(sizes)) >= 11


def test_a_wide_table_scrolls_in_its_own_box(page: Path, tab: Browser) -> None:
    tab.open(page, width=390)
    box = "document.querySelector('#runs ~ .scroll')"
    assert tab.value(f"{box}.scrollWidth > {box}.clientWidth") is True
    assert tab.value(f"{box}.scrollLeft = 200; {box}.scrollLeft") == 200


def test_tables_sort_by_a_click_both_ways(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    values = f"({SORTED_COLUMN})('runs', 7)"
    before = [text for text in tab.value(values) if text != "-"]
    numbers = [float(text) for text in before]
    assert numbers != sorted(numbers)
    for direction, expected in (("ascending", sorted(numbers)), ("descending", sorted(numbers, reverse=True))):
        tab.press("#runs ~ .scroll thead th:nth-child(8) button")
        shown = tab.value(values)
        assert [float(text) for text in shown if text != "-"] == expected
        assert shown[len(expected) :] == ["-"] * (len(shown) - len(expected))
        head = "document.querySelector('#runs ~ .scroll thead th:nth-child(8)').getAttribute('aria-sort')"
        assert tab.value(head) == direction
    tab.press("#runs ~ .scroll thead th:nth-child(1) button")
    names = tab.value(f"({SORTED_COLUMN})('runs', 0)")
    assert len(set(names)) == len(names)
    assert tab.value("document.querySelectorAll('#runs ~ .scroll [aria-sort]').length") == 1
    assert tab.problems == []


def test_every_link_resolves(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    assert tab.value(BROKEN_ANCHORS) == []
    files = tab.value("[...document.querySelectorAll('a:not([href^=\"#\"])')].map(link => link.href)")
    assert len(files) > 100
    for url in files:
        assert url.startswith("file://")
        assert Path(unquote(urlsplit(url).path)).is_file(), url


def test_a_cell_leads_to_its_run_and_the_run_to_its_files(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    tab.press("table a[href^='#run-']")
    target = "document.querySelector(':target')"
    assert tab.value(f"[{target}.tagName, {target}.open]") == ["DETAILS", True]
    links = tab.value(f"[...{target}.querySelectorAll('a')].map(link => link.textContent)")
    assert links == ["config", "curves", "predictions", "result", "provenance"]
    assert tab.value(f"getComputedStyle({target}).backgroundColor") == "rgb(232, 241, 251)"


def test_it_prints_whole(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.value("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    tab.call("Emulation.setEmulatedMedia", media="")
    printed = tab.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
    assert tab.value("[...document.querySelectorAll('details.tables')].every(folded => folded.open)") is True


def test_a_live_page_loads_itself_again(page: Path, tab: Browser, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in text
    live = text.replace("<title>", '<meta http-equiv="refresh" content="1">\n<title>', 1)
    assert without_refresh(live) == text
    (tmp_path / "live.html").write_text(live, encoding="utf-8")
    tab.open(tmp_path / "live.html", width=1280)
    tab.requests.clear()
    tab.wait_for_load()
    assert (tmp_path / "live.html").as_uri() in tab.requests


def test_screenshots_are_not_blank(page: Path, tab: Browser, tmp_path: Path) -> None:
    from PIL import Image

    for width in (390, 1280):
        tab.open(page, width=width)
        tab.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as image:
            assert image.width == width
            assert image.height > 2000
            assert len(set(image.convert("RGB").resize((200, 400)).get_flattened_data())) > 100
