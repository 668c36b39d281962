"""Markdown, LaTeX and HTML of small tables, exactly; nothing in a name becomes markup."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_page import NASTY, Page

from launch.report.content import Picture, ReportData
from launch.report.options import UNHURRIED
from launch.report.read.collect import Collection
from launch.report.tables.table import Column, Link, Table, Value, signed, text_value
from launch.report.write.documents import Section, html_page, latex_document, markdown_document, tex, to_markdown
from launch.report.write.page_data import library

NOTHING = ReportData(
    collection=Collection(Path(), ()),
    cells=(),
    pairs=(),
    compared=(),
    notes=(NASTY,),
    waiting=False,
    options=UNHURRIED,
    out=Path(),
)


def links(text: str, href: str) -> Value:
    return Value(("",), links=(Link(text, href),))


def tiny_table(name: str = "Transfer learning") -> Table:
    return Table(
        key="tiny",
        title="Tiny",
        columns=(
            Column(("Method",), numeric=False),
            Column(("DenseNet-121", "7.0m")),
            Column(("Files",), numeric=False),
        ),
        rows=(
            (text_value(name), Value(("70.00 ± 1.00", "vs TL +2.00"), sort=70.0), links("c", "a/b.json")),
            (text_value("Other"), Value(("missing",), mark="missing"), links("s0", "#run-x")),
        ),
        notes=("A note.",),
    )


def page_of(*tables: Table, title: str = "T", pictures: tuple[Picture, ...] = ()) -> str:
    sections = [
        Section(title="Results", tables=tables, pictures=pictures, notes=(NASTY,)),
        Section(title="Folded", tables=tables[:1], folded=True),
    ]
    return html_page(sections, NOTHING, title=title, summary=NASTY, downloads=[Path("tables.md")])


def test_markdown_is_exact() -> None:
    assert to_markdown(tiny_table()) == (
        "## Tiny\n"
        "\n"
        "| Method            |         DenseNet-121, 7.0m | Files |\n"
        "| ----------------- | -------------------------: | ----- |\n"
        "| Transfer learning | 70.00 ± 1.00 / vs TL +2.00 | [c](a/b.json) |\n"
        "| Other             |                    missing |       |\n"
        "\n"
        "A note.\n"
    )
    assert "a/b.json" not in to_markdown(tiny_table(), links=False)


def test_markdown_keeps_text_as_text() -> None:
    line = to_markdown(tiny_table("a|b <i> *x* `y` [z](w)\nnext")).splitlines()[4]
    assert line.startswith("| a\\|b &lt;i&gt; \\*x\\* \\`y\\` \\[z\\](w) next |")
    document = markdown_document(NASTY, [NASTY], [tiny_table()])
    assert "<script>" not in document
    assert document.startswith('# &lt;script&gt;alert(1)&lt;/script&gt;&amp;"x\n')


def test_latex_escapes_every_special() -> None:
    assert tex(r"a_b & 5% {x} $y$ #1") == r"a\_b \& 5\% \{x\} \$y\$ \#1"
    assert tex("~ ^ \\z") == r"\textasciitilde{} \textasciicircum{} \textbackslash{}z"
    assert tex("± † [q] * λ é") == r"$\pm$ $\dagger$ {[}q{]} {*} ? é"


@given(text=st.text(max_size=30))
@settings(deadline=None, max_examples=60)
def test_latex_of_any_text_is_balanced(text: str) -> None:
    document = latex_document(text, [text], [tiny_table(text or "x")])
    bare = re.sub(r"\\[{}\\&%$#_]", "", document)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert "%" not in bare
    begun, ended = re.findall(r"\\begin\{(\w+)\}", document), re.findall(r"\\end\{(\w+)\}", document)
    assert sorted(begun) == sorted(ended) == ["document", "longtable"]


def test_latex_rows_have_one_cell_for_each_column() -> None:
    document = latex_document("t", [], [tiny_table("A & B")])
    body = document[document.index(r"\endhead") : document.index(r"\end{longtable}")]
    rows = [line for line in body.splitlines() if line.endswith((r"\\", r"\\[2pt]"))]
    assert rows == [
        r"A \& B & 70.00 $\pm$ 1.00 &  \\",
        r" & vs TL +2.00 &  \\[2pt]",
        r"Other & missing &  \\",
    ]
    assert r"\begin{longtable}{lrl}" in document


def test_html_shows_names_as_text_and_needs_no_network() -> None:
    text = page_of(tiny_table(NASTY), title=NASTY)
    page = Page(text)
    assert "</script" not in library()
    assert text.count("<script>") == 1
    assert sum(NASTY in part for part in page.texts) >= 4
    assert page.values("script", "src") == []
    assert page.values("link", "href") == ["data:,"]
    assert not [href for href in page.values("a", "href") if "//" in href]
    assert "http" not in text.replace(library(), "").replace("http-equiv", "")
    assert "default-src 'none'; img-src data:;" in text


def test_html_figures_lie_in_the_page(tmp_path: Path) -> None:
    path = tmp_path / "f.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    page = Page(page_of(tiny_table(), pictures=(Picture(path, "Curves", 'a "caption"'),)))
    assert page.values("img", "src") == ["data:image/png;base64,iVBORw0KGgo="]
    assert page.values("img", "alt") == ['Curves: a "caption"']


def test_html_cells_carry_what_they_are_sorted_by() -> None:
    page = Page(page_of(tiny_table()))
    assert page.values("td", "data-sort") == ["Transfer learning", "70.0", "Other"] * 2
    assert page.values("a", "href")[-2:] == ["a/b.json", "#run-x"]


def test_a_difference_that_rounds_to_nothing_has_a_plus() -> None:
    assert [signed(value) for value in (-0.004, 0.0, -0.006, 1.0)] == ["+0.00", "+0.00", "-0.01", "+1.00"]
