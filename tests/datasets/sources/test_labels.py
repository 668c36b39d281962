"""Names of labels and values of cells."""

import numpy as np
import pandas as pd
import pytest

from datasets.errors import InputError
from datasets.sources.cells import (
    MISSING,
    ages_in_years,
    finding_values,
    label_columns,
    label_values,
    sexes,
    views,
)
from datasets.sources.labels import (
    CHESTXRAY14_LABELS,
    CHEXPERT_LABELS,
    IGNORED,
    PADCHEST_LABELS,
    RSNA_LABELS,
    VINDR_LABELS,
    canonical,
    finding,
)
from datasets.sources.records import to_targets
from datasets.sources.tables import read_header, read_lines, read_table


def test_orders_are_the_published_ones():
    assert len(CHEXPERT_LABELS) == len(set(CHEXPERT_LABELS)) == 14
    assert CHEXPERT_LABELS[0] == "No Finding" and CHEXPERT_LABELS[-1] == "Support Devices"
    assert len(CHESTXRAY14_LABELS) == len(set(CHESTXRAY14_LABELS)) == 14
    assert "No Finding" not in CHESTXRAY14_LABELS


@pytest.mark.parametrize(
    "name", sorted({*CHEXPERT_LABELS, *CHESTXRAY14_LABELS, *RSNA_LABELS, *PADCHEST_LABELS, *VINDR_LABELS})
)
def test_canonical_names_stay(name):
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Airspace Opacity", "Lung Opacity"),
        ("Infiltrate", "Infiltration"),
        ("Pleural Thickening", "Pleural_Thickening"),
        (" pleural  effusion ", "Pleural Effusion"),
        ("Effusion", "Effusion"),
        ("Pleural thickening", "Pleural_Thickening"),
        ("Pulmonary fibrosis", "Fibrosis"),
        ("Other disease", "Other diseases"),
        ("No finding", "No Finding"),
    ],
)
def test_aliases(alias, name):
    assert canonical(alias) == name


def test_the_effusions_of_two_datasets_are_one_finding():
    assert finding("Effusion") == finding("Pleural effusion") == "Pleural Effusion"
    assert finding("Mass") == "Mass" and finding("Broken Heart") == "Broken Heart"


def test_an_unknown_label_is_left_as_it_is():
    assert canonical("Broken Heart") == "Broken Heart"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("zero", [0, 1, 0, IGNORED]), ("one", [1, 1, 0, IGNORED]), ("ignore", [IGNORED, 1, 0, IGNORED])],
)
def test_uncertain_policies(policy, expected):
    targets = to_targets(np.array([[-1, 1, 0, MISSING]], dtype=np.int8), policy)
    assert targets.dtype == np.uint8
    assert targets.tolist() == [expected]


def test_unknown_policy():
    with pytest.raises(InputError, match="'half' is unknown; known: zero, one, ignore"):
        to_targets(np.zeros((1, 1), dtype=np.int8), "half")


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_label_cells(tmp_path):
    table = read_table(write(tmp_path, "a,b\n1.0,-1\n,0.0\n 1 ,nan\n"), ["a", "b"])
    assert label_values(table, ["b", "a"]).tolist() == [[-1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("cell", ["yes", "2", "0.5", "inf"])
def test_label_cell_that_is_no_label_value(tmp_path, cell):
    table = read_table(write(tmp_path, f"a,b\n1,0\n0,{cell}\n"), ["a", "b"])
    with pytest.raises(InputError, match=rf"t\.csv, row 3, column 'b': '{cell}'; expected 1, 0, -1"):
        label_values(table, ["a", "b"])


def test_label_columns_by_name_and_alias(tmp_path):
    header = ["id", "Airspace Opacity", "Edema"]
    assert label_columns(tmp_path, header, ["Edema", "Lung Opacity"]) == ["Edema", "Airspace Opacity"]
    with pytest.raises(InputError, match="'Airspace Opacity' and 'Lung Opacity' are the same label"):
        label_columns(tmp_path, [*header, "Lung Opacity"], ["Edema"])
    with pytest.raises(InputError, match="no column for the label Fracture"):
        label_columns(tmp_path, header, ["Edema", "Fracture"])


def test_findings_are_whole_tokens(tmp_path):
    table = read_table(write(tmp_path, "f\nMass|Edema\nNo Finding\nPleural Thickening\n"), ["f"])
    values = finding_values(table, "f", CHESTXRAY14_LABELS)
    named = [[label for label, value in zip(CHESTXRAY14_LABELS, row, strict=True) if value] for row in values]
    assert named == [["Mass", "Edema"], [], ["Pleural_Thickening"]]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("Mass|Massive", "unknown label 'Massive'; known labels: Atelectasis, .*No Finding"),
        ("Fracture", "unknown label 'Fracture'"),
        ("No Finding|Mass", "says 'No Finding' beside a finding"),
        ("Mass|", "unknown label ''"),
        ('""', "blank"),
    ],
)
def test_findings_that_are_refused(tmp_path, cell, problem):
    table = read_table(write(tmp_path, f"k,f\n1,Mass\n2,{cell}\n"), ["k", "f"])
    with pytest.raises(InputError, match=rf"row 3, column 'f': .*{problem}"):
        finding_values(table, "f", CHESTXRAY14_LABELS)


def test_ages_and_sexes():
    ages = ages_in_years(pd.Series(["60", "060Y", "011M", "025M", "013D", "", "old", "90.0"]))
    assert ages.tolist() == [60, 60, 0, 2, 0, pd.NA, pd.NA, 90]
    assert sexes(pd.Series(["Female", "M", "Unknown", ""])).fillna("?").tolist() == ["F", "M", "?", "?"]


def test_byte_order_mark_blank_rows_and_row_numbers(tmp_path):
    text = "\ufeffa, b ,c\r\n1,2,3\r\n\r\n4,,6\r\n,,\r\n,,\r\n\r\n"
    table = read_table(write(tmp_path, text), ["b", "a"], ["c", "absent"])
    assert table.frame.columns.tolist() == ["b", "a", "c"]
    assert table.frame.to_numpy().tolist() == [["2", "1", "3"], ["", "4", "6"]]
    assert table.frame.index.tolist() == [2, 4]
    assert table.source.num_rows == 2


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n", "a,b,\n1,2\n3,4\n", "a,b\n1,2\n3,4"])
def test_unnamed_last_column(tmp_path, text):
    assert read_table(write(tmp_path, text), ["a", "b"]).frame.to_numpy().tolist() == [["1", "2"], ["3", "4"]]


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    import gzip

    plain, packed = "a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n")
    for name, content in (("x.csv.gz", packed), ("x.csv", packed), ("y.csv.gz", plain)):
        path = write(tmp_path, content, name)
        assert read_header(path) == ["a", "b"]
        assert read_table(path, ["a"]).frame["a"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n1,2\n3\n", r"row 3: 1 cells, expected 2; the file may be cut short"),
        (b"a,b\n1,2\n3,4,5\n", r"row 3: 3 cells, expected 2"),
        (b'a,b\n1,"2\n3,4\n5,6\n', "a quote may be left open"),
        (b"a,a,b\n1,2,3\n", "column 'a' is there twice"),
        (b"a,c\n1,2\n", "no column 'b'; its columns are a, c"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00", "not UTF-8"),
        (b"a,b\n1,\xe9\n", "UTF"),
        (b"\x1f\x8b\x08\x00broken", "not a whole gzip file"),
    ],
)
def test_unreadable_tables(tmp_path, content, problem):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=problem) as caught:
        read_table(path, ["a", "b"])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_absent_table_and_folder_in_its_place(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv", ["a"])
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path, ["a"])


def test_lines_without_final_newline(tmp_path):
    lines, source = read_lines(write(tmp_path, "\ufeffone\r\n\r\n two \nthree"))
    assert lines == ["one", "two", "three"]
    assert source.num_rows == 3


def test_views_of_the_words_of_every_dataset():
    told = {
        "frontal": ["PA", "ap", "AP_horizontal", "AP AXIAL"],
        "lateral": ["LATERAL", "LL", "RL", "L", "XTABLE LATERAL"],
        "unknown": ["", "COSTAL", "UNK", "EXCLUDE", "LLD", "RLO", "LPO", "PAD"],
    }
    for view, words in told.items():
        assert views(pd.Series(words, dtype="str")).tolist() == [view] * len(words)
