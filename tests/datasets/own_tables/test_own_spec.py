"""Wrong specs, each with its one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import InputError
from datasets.own_tables.read import open_spec
from datasets.own_tables.spec import cell_key, read_spec
from datasets.sources.records import read_records

RIGHT = """
name = "own"
patient = "pid"

[[tables]]
file = "t.csv"

[[tables]]
file = "l.csv"
on = { study = "case" }

[image]
file = "file"

[[labels]]
names = ["Edema", "Mass"]
"""
WRONG = [
    ('name = "own"', 'name = "own"\nnmae = "x"', "nmae: unknown key; did you mean name? known: name, title, root"),
    ('file = "t.csv"', 'file = "t.csv"\nseperator = ";"', "tables[1].seperator: unknown key; did you mean separator"),
    ('names = [', 'positve = [1]\nnames = [', "labels[1].positve: unknown key; did you mean positive? known: names"),
    ('name = "own"', "", "name: is missing"),
    ('name = "own"', 'name = "our set"', "name = 'our set': expected letters, digits, . _ and -"),
    ('name = "own"', 'name = "chexpert"', "name = 'chexpert' is a registered dataset; choose another"),
    ('name = "own"', "name = 7", "name: Input should be a valid string, found 7"),
    ('file = "t.csv"', 'file = "t.csv"\ndicom = "."', "tables[1]: give either file or dicom"),
    ('file = "t.csv"', 'file = "../t.csv"', "tables[1]: file = '../t.csv' must lie below the root"),
    ('file = "t.csv"', 'file = "t.csv"\nencoding = "utf-9"', "tables[1]: encoding = 'utf-9' is unknown; try utf-8"),
    ('file = "t.csv"', 'file = "t.csv"\nseparator = "::"', "tables[1]: separator = '::' must be one character"),
    ('on = { study = "case" }', "", "tables[2].on: the tables below the first have it, and only they"),
    ('file = "file"', "", "image.file: is missing"),
    ('file = "file"', 'file = "file"\npattern = "("', "image: pattern = '(' is no regular expression (Invalid"),
    ('file = "file"', 'file = "file"\nfolders = ["/data"]', "image: folders = '/data' must lie below the root"),
    ('"Mass"]', '"edema"]', "labels[1]: names: Edema is there twice"),
    ('"Mass"]', "3]", "labels[1]: names: expected a list of labels, or a table of label = column or word"),
    ('"Mass"]', '"Mass"]\nuncertain = [1.0]', "labels[1]: 1.0 is both positive and uncertain"),
    ('"Mass"]', '"Mass"]\npositive = 1', "labels[1].positive: Input should be a valid array, found 1"),
    ('"Mass"]', '"Mass"]\n[attributes]\nsplit = "x"', "attributes.split: expected letters, digits and _, and"),
    ('patient = "pid"', 'patient = ""', "patient: expected a column, alone or in braces"),
    ('name = "own"', 'name = "own', "spec.toml: not a TOML file"),
    ('[image]', 'title = "x"\n[image]', "tables[2].title: unknown key; title of the whole dataset stands above"),
    ('["Edema", "Mass"]', '[["Edema"]]', "labels[1]: names: expected a list of labels, or a table of label = "),
    ('["Edema", "Mass"]', "3", "labels[1]: names: expected a list of labels, or a table of label = column"),
    ('file = "file"', 'file = "file"\npattern = "(?!a)b"', "image: pattern = '(?!a)b' is no regular expression ("),
    ('file = "t.csv"', 'file = "t.csv"\nencoding = "base64"', "tables[1]: encoding = 'base64' is unknown; try"),
    # What only the tables tell.
    ('file = "t.csv"', 'file = "tt.csv"', "tt.csv: no such file"),
    ('file = "t.csv"', 'file = "x*.csv"', "no file matches 'x*.csv'"),
    ('patient = "pid"', 'patient = "pidd"', "patient: no column 'pidd'; did you mean pid? known: file, pid"),
    ('"Mass"]', '"Mess"]', "labels[1].names: no column 'Mess'; did you mean Mass? known: file, pid"),
    ('{ study = "case" }', '{ study = "cases" }', "l.csv: no column 'cases'; did you mean case? known: case, Edema"),
    ('{ study = "case" }', '{ stdy = "case" }', "tables[2].on: no column 'stdy'; did you mean study? known: file"),
    ('name = "own"', 'name = "own"\nattributes.at = "site"', "attributes.at: column 'site' is in t.csv and l.csv"),
    ('{ study = "case" }', '{ study = "site" }', "l.csv, row 3: site = 'x' has a row already; expected one for each"),
    ('{ study = "case" }', '{ file = "case" }', "l.csv: none of its 2 rows is of an image of t.csv by case ("),
    ('{ study = "case" }', '{ site = "case" }', "l.csv: none of its 2 rows is of an image of t.csv by case"),
    ('file = "file"', 'file = "study"', "10 is listed more than once (t.csv row 2, t.csv row 4); keep one row"),
    ('file = "file"', 'file = "file"\nfolders = ["images"]', "none of the 3 images of the tables was found; looked"),
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("file,pid,study,site\na.png,1,10,A\nb.png,2,11,A\nc.png,3,10,B\n")
    (tmp_path / "l.csv").write_text("case,Edema,Mass,site\n10,1,0,x\n11,0,1,x\n")
    return tmp_path


def test_the_right_one_is_read(root: Path) -> None:
    (root / "spec.toml").write_text(RIGHT)
    dataset, found = open_spec(root / "spec.toml")
    assert read_records(dataset, found, check_files=False).targets.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert found == root


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_wrong_spec_has_one_line(root: Path, old: str, new: str, message: str) -> None:
    assert old in RIGHT
    (root / "spec.toml").write_text(RIGHT.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        dataset, found = open_spec(root / "spec.toml")
        read_records(dataset, found, check_files="folders" in new)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_spec_and_no_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spec .*none\.toml: no such file"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "spec.toml").write_text(RIGHT.replace("[[tables]]", "[[tabels]]"))
    with pytest.raises(InputError, match=r"tabels: unknown key; did you mean tables\?"):
        read_spec(tmp_path / "spec.toml")


def test_cells_that_say_the_same() -> None:
    assert {cell_key(value) for value in (1, 1.0, "1", " 1.00 ")} == {"1"}
    assert cell_key(True) == cell_key("TRUE") == "true"
    assert cell_key("-1.0") == "-1" and cell_key("0.5") == "0.5" and cell_key("No  Finding") == "no finding"
