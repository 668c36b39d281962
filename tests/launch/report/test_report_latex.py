"""The LaTeX tables compile; where no TeX is installed they are read as strictly as TeX would."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_fixtures import student, write_run

from launch.report.build import build_report

NASTY = 'a_b & 50% {x} $y$ #1 ~ ^ \\z "q" [*] <t> | é 胸'
KNOWN = {
    *("documentclass", "usepackage", "setlength", "begin", "end", "footnotesize", "section", "noindent", "par"),
    *("multicolumn", "textbf", "hline", "endhead", "tabcolsep", "pm", "dagger"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedbl"),
}
SYMBOLS = set("\\&%$#_{}")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of every kind: the paper's, pairs, prerequisites, cells; with names that hold all of TeX's symbols."""
    runs = tmp_path_factory.mktemp("latex") / NASTY.replace("/", " ")
    for image_size, subset in ((64, "200"), (256, "1k"), (256, "5k")):
        for teacher in (None, "mimic_cxr"):
            for seed in range(2):
                config = student(seed=seed, teacher=teacher, subset=subset, image_size=image_size)
                write_run(runs, config, {"Edema": 0.6, NASTY: 0.7}, provenance={"phantom": True})
    write_run(runs, student(teacher="mimic_cxr", beta=2.0), {"Edema": 0.6, NASTY: 0.7})
    build_report(runs, runs / "report")
    return runs / "report" / "tables.tex"


def without_comments_and_symbols(text: str) -> str:
    """Text with escaped symbols removed; what is left of ``% # & $ _`` has a meaning for TeX."""
    return re.sub(r"\\[\\&%$#_{}](?:\[2pt\])?", " ", text)


def test_every_command_is_one_that_the_document_may_use(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"\\([a-zA-Z]+)", text)) <= KNOWN
    assert set(re.findall(r"\\([^a-zA-Z])", text)) <= SYMBOLS
    assert all(ord(char) < 0x180 for char in text)


def test_groups_environments_and_formulas_are_closed(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    bare = without_comments_and_symbols(text)
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set(re.sub(r"\$\\(pm|dagger)\$", "", bare)) & set("$%#_~^")
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert open_ones == []
    assert text.rstrip().endswith(r"\end{document}")


def test_every_row_has_the_columns_that_its_table_declares(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    tables = re.findall(r"\\begin\{longtable\}\{([lr]+)\}\n(.*?)\\end\{longtable\}", text, flags=re.DOTALL)
    assert len(tables) == text.count(r"\begin{longtable}") >= 6
    for spec, body in tables:
        lines = [line for line in body.splitlines() if line not in (r"\hline", r"\endhead")]
        title, *rows = lines
        assert title.startswith(rf"\multicolumn{{{len(spec)}}}{{l}}{{\textbf{{")
        assert title.endswith(r"}}\\")
        for row in rows:
            assert re.search(r" \\\\(\[2pt\])?$", row), row
            bare = without_comments_and_symbols(re.sub(r"\\\\(\[2pt\])?$", "", row))
            assert bare.count("&") == len(spec) - 1, row


def test_it_compiles(document: Path, tmp_path: Path) -> None:
    compilers = {"tectonic": ["tectonic", "--untrusted"], "pdflatex": ["pdflatex", "-interaction=nonstopmode"]}
    found = next((name for name in compilers if shutil.which(name)), None)
    if found is None:
        pytest.skip("no TeX")
    shutil.copyfile(document, tmp_path / "tables.tex")
    arguments = [*compilers[found], "tables.tex"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
