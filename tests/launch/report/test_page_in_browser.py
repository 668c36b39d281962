"""The page in a real browser: no error, no network, tables sort, links resolve, nothing overflows, print is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from headless import Browser, browser, find_browser
from report_fixtures import mimic_teacher, pretraining, student, write_run

from harness.config import Weights
from launch.plan.tables import STATUS_HEADERS
from launch.report.build import build_report
from launch.report.status_page import write_status_page
from launch.report.write.documents import without_refresh

NASTY = "x </script><img src=nowhere onerror=fail()> $$y$$ <!-- & \"quotes\" 'é' 胸 \u202e %41 $x_$"
TITLE = "</title><script>fail()</script> 'Spines'"
CURVE = [(0.5, 0.5), (0.6, 0.55), (0.7, 0.6)]
SORTED_COLUMN = """(key, column) => [...document.querySelector(`#${key} ~ .scroll table`).tBodies[0].rows]
    .map(row => row.cells[column].textContent.trim())"""
BROKEN_ANCHORS = """[...document.querySelectorAll('a[href^="#"]')].map(link => link.hash.slice(1))
    .filter(id => !document.getElementById(decodeURIComponent(id)))"""
OUTSIDE = """[...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll')
    && element.getBoundingClientRect().right > innerWidth + 0.5).map(element => element.outerHTML.slice(0, 80))"""
ALL_LAID_OUT = """document.head.append(Object.assign(document.createElement('style'),
    {textContent: '.many, .run { content-visibility: visible !important; }'}))"""
OVERLAPPING = """(() => {
    const boxes = [...document.querySelectorAll('h1, h2, h3, p, .notes, .scroll')]
        .map(block => [block.textContent.slice(0, 60), block.getBoundingClientRect()])
        .filter(([, box]) => box.height > 0);
    return boxes.slice(1).filter(([, box], i) => box.top < boxes[i][1].bottom - 1).map(([text]) => text);
})()"""


PLACE_OF = """(x, y) => { const view = Bokeh.index.find_one(document.querySelector('.live').figures[0]);
    const box = view.canvas_view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)]; }"""
"""Where the first chart draws a value, in the window."""
TOOLTIPS = """(() => { const rows = (node) => [...(node.shadowRoot ? rows(node.shadowRoot) : []),
        ...[...node.querySelectorAll('.bk-tooltip-row-value')].map(cell => cell.textContent.trim()),
        ...[...node.querySelectorAll('*')].filter(child => child.shadowRoot).flatMap(rows)];
    return rows(document.body); })()"""


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
    write_run(runs, student(dataset="spines"), 0.5, curve=CURVE, provenance={"dataset_title": TITLE})
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
    assert tab.value("[...document.scripts].map(script => script.id)") == ["data", "library", ""]
    assert TITLE in shown
    tab.press("#compare summary")
    assert tab.value(f"[...byId('first').options].some(option => option.text.includes({json.dumps(TITLE)}))") is True
    tab.value("for (const part of document.querySelectorAll('details.run')) part.open = true")
    tab.value(
        "document.querySelectorAll('figure[data-chart]').forEach(figure => drawChart(data.charts["
        "figure.dataset.chart], figure.querySelector('.live')))"
    )
    tab.wait_until("[...document.querySelectorAll('figure[data-chart] .live')].every(place => place.figures)")
    assert tab.problems == []
    assert 'runs <i>of<i> "A & B" #1 ?x=%20' in tab.value("document.querySelector('h1').textContent")
    assert tab.value("document.querySelectorAll('body b, body i, img[onerror]').length") == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_or_overlaps(page: Path, tab: Browser, width: int) -> None:
    tab.open(page, width=width)
    assert tab.value("[innerWidth, document.scrollingElement.scrollWidth <= innerWidth]") == [width, True]
    tab.value(ALL_LAID_OUT)
    assert tab.value(OUTSIDE) == []
    tab.value("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    assert tab.value(OUTSIDE) == []
    assert tab.value(OVERLAPPING) == []
    sizes = "[...document.querySelectorAll('td, th, p, a')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(tab.value(sizes)) >= 11


def draw(tab: Browser, page: Path, *, width: int = 1280) -> None:
    """Open the page and bring its first chart into sight."""
    tab.open(page, width=width)
    tab.value("document.querySelector('figure[data-chart]').scrollIntoView()")
    tab.wait_until("document.querySelector('.live').figures")


def test_a_chart_shows_its_values_under_the_mouse_and_zooms(page: Path, tab: Browser) -> None:
    draw(tab, page)
    x, y = tab.value(f"({PLACE_OF})(20, 55)")
    for place in (x - 2, x):
        tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place, y=y)
    tab.wait_until(f"{TOOLTIPS}.length")
    part = "validation split (solid)"
    methods = ("Transfer learning", "Attention transfer, MIMIC-CXR teacher")
    expected = [text for name in methods for text in (f"{name}, {part}", "20", "55.00 [55.00, 55.00]")]
    assert sorted(tab.value(TOOLTIPS)) == sorted(expected)
    start, end = "document.querySelector('.live').figures[0].x_range.start", tab.value(f"({PLACE_OF})(29, 59)")
    before = tab.value(start)
    for kind, (to_x, to_y) in (("mousePressed", (x, y)), ("mouseMoved", end), ("mouseReleased", end)):
        tab.call("Input.dispatchMouseEvent", type=kind, x=to_x, y=to_y, button="left", buttons=1, clickCount=1)
    tab.wait_until(f"Math.abs({start} - 20) < 0.5")
    assert before < 10
    assert tab.problems == []


def test_series_are_switched_off_and_on_by_buttons(page: Path, tab: Browser) -> None:
    draw(tab, page)
    shown = """document.querySelector('.live').figures[0].renderers.filter(one => one.visible).length"""
    every = tab.value(shown)
    assert every == 2 * 2 * 3  # methods, splits; band, line and points
    names = tab.value("[...document.querySelectorAll('.live')[0].querySelectorAll('button')].map(b => b.textContent)")
    assert names[0] == "Transfer learning"
    assert names[2:] == ["validation split (solid)", "training split (dashed)"]
    for button, left in ((1, 6), (4, 3), (1, 6), (4, 12)):
        tab.press(f".live .switches button:nth-child({button})")
        assert tab.value(shown) == left
    tab.value("document.querySelector('.live .switches button').focus()")
    tab.key("Enter")
    assert tab.value(shown) == 6
    assert tab.value("document.querySelector('.live .switches button').getAttribute('aria-pressed')") == "false"


def test_rows_are_filtered_by_words(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    visible = "[...document.querySelector('#runs ~ .scroll tbody').rows].filter(row => !row.hidden).length"
    total = tab.value(visible)
    tab.press("#runs ~ .filter input")
    for text, count in (("D40 mimic", 2), ("", total), ("<b>", 0)):
        tab.value("document.activeElement.select()")
        tab.call("Input.insertText", text=text) if text else tab.key("Backspace")
        assert tab.value(visible) == count
    assert tab.value("document.querySelector('#runs ~ .filter [role=status]').textContent") == f"0 of {total} rows"


def test_two_cells_are_compared(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    cells = tab.value("data.cells.map(cell => cell.name)")
    tab.press("#compare summary")
    where = "CheXpert, 200 training images, ChestX-ray14 initial weights: DenseNet-121, "
    for box, name in (("first", "Transfer learning"), ("second", "Attention transfer, MIMIC-CXR teacher")):
        choose = f"byId('{box}').value = {cells.index(where + name)}"
        tab.value(f"{choose}; byId('{box}').dispatchEvent(new Event('change'))")
    rows = "[...document.querySelectorAll('#compared table')].map(table => [...table.tBodies[0].rows].map(row => "
    fields, labels = tab.value(rows + "[...row.cells].map(cell => cell.textContent)))")
    assert ["objective.beta", "-", "1"] in fields
    assert {field for field, *_ in fields} >= {"objective.beta", "objective.teacher"}
    by_name = {name: values for name, *values in labels}
    assert list(by_name) == ["Edema", NASTY, "Enlarged Cardiomediastinum", "Mean (comparable labels)"]
    assert by_name["Edema"][:3] == ["60.50", "60.50", "+0.00"]
    low, high = map(float, by_name["Edema"][3].split("]")[0].strip("[").split(", "))
    straight = tab.value("data.pairs.filter(one => one.other === Number(byId('second').value))")[0]["rows"]["Edema"]
    assert [low, high] == pytest.approx(straight[1:3], abs=0.006)
    tab.wait_until("document.querySelector('#compared .panels')?.parentElement.figures")
    swap = "[byId('first').value, byId('second').value] = [byId('second').value, byId('first').value]"
    tab.value(f"{swap}; byId('first').dispatchEvent(new Event('change'))")
    turned = tab.value(rows + "[...row.cells].map(cell => cell.textContent)))")[1][0][4]
    assert list(map(float, turned.split("]")[0].strip("[").split(", "))) == [-high, -low]
    assert tab.problems == []


def test_a_run_is_shown_whole(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    tab.press("details.run summary")
    tab.wait_until("document.querySelector('details.run .panels')?.parentElement.figures")
    titles = tab.value("[...document.querySelectorAll('details.run .filled h4')].map(head => head.textContent)")
    assert titles[:3] == ["Result and provenance", "Test AUROC by label (points)", "Config"]
    text = tab.value("document.querySelector('details.run .filled').textContent")
    for words in ("commit0123456789", "schedule.epochs128", "best epoch3", "Edema85.00", "imagesmade up"):
        assert words in text
    assert tab.problems == []


def test_the_page_is_dark_by_the_system_or_by_a_button(page: Path, tab: Browser) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.call("Emulation.setEmulatedMedia", features=dark)
    draw(tab, page)
    assert tab.value(paper) == "rgb(22, 25, 29)"
    assert (
        tab.value("document.querySelector('.live').figures[0].below[0].axis_label_text_color") == "rgb(228, 231, 234)"
    )
    tab.call("Emulation.setEmulatedMedia", features=[])
    tab.open(page, width=1280)
    assert tab.value(paper) == "rgb(255, 255, 255)"
    tab.press("#theme")
    assert tab.value(paper) == "rgb(22, 25, 29)"
    tab.open(page, width=1280)
    assert tab.value(paper) == "rgb(22, 25, 29)", "the choice is kept"
    tab.press("#theme")


def test_a_click_is_answered_at_once(page: Path, tab: Browser) -> None:
    tab.open(page, width=1280)
    sort = "document.querySelector('#runs ~ .scroll thead th:nth-child(8) button').click()"
    for act in (sort, "byId('compare').open = true", "document.querySelector('details.run').open = true"):
        done = "requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))"
        took = tab.value(f"new Promise(done => {{ const start = performance.now(); {act}; {done}; }})")
        assert took < 1000, act  # 200 ms on a quiet machine


def test_a_wide_table_scrolls_in_its_own_box(page: Path, tab: Browser) -> None:
    tab.open(page, width=390)
    box = "document.querySelector('#runs ~ .scroll')"
    tab.value(ALL_LAID_OUT)
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
    tab.wait_until(f"{target}.open")
    assert tab.value(f"{target}.tagName") == "DETAILS"
    links = tab.value(f"[...{target}.querySelectorAll('a')].map(link => link.textContent)")
    assert links == ["config", "curves", "predictions", "result", "provenance"]
    assert tab.value(f"getComputedStyle({target}).backgroundColor") == "rgb(232, 241, 251)"


def test_it_prints_whole(page: Path, tab: Browser) -> None:
    draw(tab, page)
    display = "[...document.querySelectorAll('.drawn .static, .drawn .live')].slice(0, 2)"
    shown = f"{display}.map(part => [part.classList[part.classList.length - 1], getComputedStyle(part).display])"
    assert tab.value(shown) == [["static", "none"], ["live", "block"]]
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.value(shown) == [["static", "block"], ["live", "none"]]
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


def test_without_scripts_tables_and_pictures_are_there(page: Path, tab: Browser) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(page, width=1280, settled=False)
        display = "getComputedStyle(document.querySelector('figure[data-chart] {}')).display"
        assert [tab.value(display.format(part)) for part in (".static", ".live")] == ["block", "none"]
        assert "by a browser that runs scripts" in tab.value("document.querySelector('noscript').textContent")
        assert tab.value("document.querySelectorAll('#runs ~ .scroll tbody tr').length") > 20
        assert tab.value("document.querySelector('#theme').hidden") is True
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_page_before_there_are_runs_has_no_error(tab: Browser, tmp_path: Path) -> None:
    rows = [tuple(f"{name} {number}" for name in STATUS_HEADERS) for number in range(8)]
    write_status_page(tmp_path / "runs", tmp_path / "out", "8 runs", rows, None)
    tab.open(tmp_path / "out" / "index.html", width=1280)
    assert tab.problems == []
    assert tab.value(BROKEN_ANCHORS) == []
    assert tab.value("document.querySelectorAll('.filter').length") == 1


def test_screenshots_are_not_blank(page: Path, tab: Browser, tmp_path: Path) -> None:
    from PIL import Image

    for width in (390, 1280):
        tab.open(page, width=width)
        tab.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as image:
            assert image.width == width
            assert image.height > 2000
            assert len(set(image.convert("RGB").resize((200, 400)).get_flattened_data())) > 100
