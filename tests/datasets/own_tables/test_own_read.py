"""Specs of one's own tables: formats, joins, filters, values, and rows that are refused with file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hospital import SPEC, write_hospital
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.own_tables.read import open_spec
from datasets.sources.labels import IGNORED
from datasets.sources.records import Records, RejectGuard, read_records
from datasets.splits.split import SplitConfig, assign_splits, read_test_ids


def read(root: Path, spec: str, **options: Any) -> Records:
    (root / "spec.toml").write_text(spec, encoding="utf-8")
    dataset, found = open_spec(root / "spec.toml")
    return read_records(dataset, found, **options)


def plain(root: Path, table: str, more: str = "", labels: str = 'names = ["Edema"]') -> Records:
    """A CSV of file, patient and more; files are not looked for."""
    (root / "t.csv").write_text(table, encoding="utf-8")
    spec = f'name = "own"\npatient = "patient"\n{more}\n[[tables]]\nfile = "t.csv"\n'
    return read(root, f'{spec}[image]\nfile = "file"\n[[labels]]\n{labels}\n', check_files=False)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hospital(tmp_path_factory.mktemp("hospital"))


def test_an_excel_table_with_foreign_columns_joined_with_a_second_one(hospital: Path) -> None:
    records = read(hospital, SPEC, uncertain="ignore")
    assert (records.dataset, records.title, records.labels) == (
        "hospital",
        "Hospital of Nowhere",
        ("Pleural Effusion", "Edema"),
    )
    frame = records.frame
    assert frame["path"].tolist() == sorted(f"{'alt' if n % 3 else 'neu'}/b{n:03d}.png" for n in range(12))
    first = frame[frame["name"] == "b001.png"].iloc[0]
    told = ["alt/b001.png", "b001.png", "70", "5000", "lateral", "", "F", 40, "Nord"]
    assert first.tolist() == told and records.attributes == ("site",)
    by_name = dict(zip(frame["name"], records.targets.tolist(), strict=True))
    assert [by_name[f"b{n:03d}.png"] for n in (0, 2, 4, 6)] == [[1, 0], [0, 1], [1, IGNORED], [0, IGNORED]]
    assert [(table.name, table.num_rows) for table in records.tables] == [("bilder.xlsx", 12), ("befunde.csv", 6)]
    assert len(records.rejects) == 0 and records.patients == tuple(map(str, range(70, 76)))


@pytest.mark.parametrize("kind", ["parquet", "csv.gz", "xlsx"])
def test_every_format_says_the_same(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame(
        {
            "file": ["a.png", "b.png", "c.png"],
            "patient": [7, 8, 9],
            "Edema": [1.0, None, 0.0],
            "Mass": [True, False, None],
            "day": pd.to_datetime(["2020-12-31", None, "2021-01-01"]),
        }
    )
    write = {"parquet": frame.to_parquet, "csv.gz": frame.to_csv, "xlsx": frame.to_excel}[kind]
    write(tmp_path / f"t.{kind}", index=False)
    spec = f'name = "own"\npatient = "patient"\nattributes.day = "day"\n[[tables]]\nfile = "t.{kind}"\n'
    labels = 'names = ["Edema", "Mass"]\npositive = [1, true]\nnegative = [0, false]\n'
    records = read(tmp_path, f'{spec}[image]\nfile = "file"\n[[labels]]\n{labels}', check_files=False)
    assert records.targets.tolist() == [[1, 1], [IGNORED, 0], [0, IGNORED]]
    assert records.frame["patient"].tolist() == ["7", "8", "9"]
    assert records.frame["day"].tolist() == ["2020-12-31", "", "2021-01-01"]


def test_files_of_one_layout_stand_one_below_the_other(tmp_path: Path) -> None:
    (tmp_path / "2019.csv").write_text("file,patient,Edema\na.png,1,1\n,2,0\n")
    (tmp_path / "2018.csv").write_text("file,patient,Edema\n")
    (tmp_path / "2020.csv").write_text("patient,file,Edema\n3,../b.png,1\n,c.png,0\n4,d.png,2\n5,e.png,0\n")
    spec = 'name = "own"\npatient = "patient"\n[[tables]]\nfile = "20*.csv"\n'
    records = read(tmp_path, f'{spec}[image]\nfile = "file"\n[[labels]]\nnames = ["Edema"]', check_files=False)
    assert records.frame["path"].tolist() == ["a.png", "e.png"]
    assert sorted(map(tuple, records.rejects[["table", "row", "path", "reason"]].to_numpy())) == [
        ("2019.csv", 3, "", "no image is named"),
        ("2020.csv", 2, "../b.png", "points outside the root: '..'"),
        ("2020.csv", 3, "c.png", "no patient is named"),
        ("2020.csv", 4, "d.png", "column 'Edema' says '2', which the spec does not name"),
    ]
    with pytest.raises(InputError, match=r"4 of 6 images cannot be used.*--max-rejects 0.5.*2020.csv, row 4\)$"):
        RejectGuard(records, 0.5)


def test_filters_count_what_they_leave_out(tmp_path: Path) -> None:
    table = "file,patient,Edema,kind,good\na.png,1,1,CR,yes\nb.png,2,0,MR,yes\nc.png,3,1,DX,no\nd.png,4,0,DX,Yes\n"
    records = plain(tmp_path, table, 'keep.kind = ["CR", "DX"]\ndrop.good = ["no"]')
    assert records.frame["name"].tolist() == ["a.png", "d.png"]
    assert records.dropped == {"kind is none of CR, DX": 1, "good is one of no": 1}
    with pytest.raises(InputError, match=r"t.csv: no row is left \(4 kind is none of CT\)"):
        plain(tmp_path, table, 'keep.kind = ["CT"]')
    with pytest.raises(InputError, match=r"t.csv: no row is left \(it has none\)"):
        plain(tmp_path, "file,patient,Edema\n")


def test_images_without_a_row_in_a_second_table_are_refused_or_dropped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,patient,study\na.png,1,10\nb.png,2,11\n")
    (tmp_path / "l.csv").write_text("study,Edema\n11,1\n,0\n")
    spec = 'name = "own"\npatient = "patient"\n[[tables]]\nfile = "t.csv"\n[[tables]]\nfile = "l.csv"\n'
    rest = 'on.study = "study"\n{}\n[image]\nfile = "file"\n[[labels]]\nnames = ["Edema"]'
    records = read(tmp_path, spec + rest.format(""), check_files=False)
    assert records.frame["name"].tolist() == ["b.png"] and records.targets.tolist() == [[1]]
    assert records.rejects.iloc[0].tolist() == ["a.png", "no row in l.csv", "t.csv", 2]
    records = read(tmp_path, spec + rest.format('unmatched = "drop"'), check_files=False)
    assert len(records.rejects) == 0 and records.dropped == {"no row in l.csv": 1}


def test_words_in_one_column(tmp_path: Path) -> None:
    cells = ("Erguss+odem", "o.B.", "", "o.B.+Erguss", "Narbe", "Bruch")
    rows = (f"{name}.png,{number},{cell}\n" for number, (name, cell) in enumerate(zip("abcdef", cells, strict=True)))
    table = "file,patient,finding\n" + "".join(rows)
    labels = (
        'column = "finding"\nseparator = "+"\nnone = ["o.B."]\nignore = ["Narbe"]\n'
        'names = { Effusion = "Erguss", Edema = ["Ödem", "Odem"] }'
    )
    records = plain(tmp_path, table, labels=labels)
    assert records.labels == ("Effusion", "Edema")
    assert records.targets.tolist() == [[1, 1], [0, 0], [IGNORED, IGNORED], [0, 0]]
    assert records.rejects["reason"].tolist() == [
        "column 'finding' says 'o.B.+Erguss', no finding beside a finding",
        "column 'finding' says 'Bruch', which the spec does not name",
    ]
    everything = plain(tmp_path, table, labels=labels.replace('"Narbe"', '"*"'))
    assert everything.frame["name"].tolist() == ["a.png", "b.png", "c.png", "e.png", "f.png"]


def test_what_a_path_says_can_be_used_like_a_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,Edema\np0012\\s3\\a.png,1\np12/b.png,0\n")
    spec = 'name = "own"\npatient = "{number:06}"\nstudy = "study"\n[[tables]]\nfile = "t.csv"\n'
    image = "[image]\nfile = 'file'\npattern = 'p(?P<number>\\d+)/s(?P<study>\\d+)/\\w+\\.png'\n"
    records = read(tmp_path, f'{spec}{image}[[labels]]\nnames = ["Edema"]', check_files=False)
    assert records.frame[["name", "patient", "study"]].to_numpy().tolist() == [["p0012/s3/a.png", "000012", "3"]]
    assert records.rejects["reason"].tolist() == [
        "expected a path of the form p(?P<number>\\d+)/s(?P<study>\\d+)/\\w+\\.png"
    ]


def test_the_official_split_of_a_column(tmp_path: Path) -> None:
    rows = "\n".join(f"{n}.png,{n},1,{('Train', 'val', 'test')[n % 3]}" for n in range(6))
    records = plain(
        tmp_path, f"file,patient,Edema,part\n{rows}\n", 'split = { column = "part", validation = ["val"] }'
    )
    assert assign_splits(records, SplitConfig(kind="official")).tolist() == ["train", "validation", "test"] * 2


def test_test_patients_may_have_any_ids(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("A-7\nB-9\n")
    assert read_test_ids(tmp_path / "ids.txt", ["A-7", "A-8"]) == {"A-7"}
    (tmp_path / "ids.txt").write_text("7\n")
    assert read_test_ids(tmp_path / "ids.txt", ["7", "007"]) == {"7"}  # two patients, so no number tells them apart
    assert read_test_ids(tmp_path / "ids.txt", ["patient00007", "8"]) == {"patient00007"}


def test_tables_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name in ("t.xlsx", "t.parquet", "t.csv.gz", "t.csv"):
        (tmp_path / name).write_bytes(b"file;patient;\xd6dem\na.png;1;1\n")
    write_hospital(tmp_path / "hospital", 2)
    listed = pd.DataFrame({"file": ["a.png"], "patient": ["1"], "Ödem": [[1, 2]]})
    listed.to_parquet(tmp_path / "listed.parquet")
    spec = 'name = "own"\npatient = "patient"\n[[tables]]\n{}\n[image]\nfile = "file"\n'
    spec += '[[labels]]\nnames = ["Ödem"]\n'
    for table, message in (
        ('file = "t.xlsx"', "t.xlsx: not a readable Excel workbook"),
        ('file = "t.parquet"', "t.parquet: not a readable Parquet file"),
        ('file = "t.csv"', "t.csv: not UTF-8 text"),
        ('file = "t.csv"\nencoding = "ascii"', "t.csv: not ascii text"),
        ('file = "hospital/bilder.xlsx"\nsheet = "Bild"', "no sheet 'Bild'; known: Deckblatt, Aufnahmen"),
        ('file = "hospital/bilder.xlsx"\nheader = 9', "row 9 is empty; expected the names of the columns"),
        ('file = "listed.parquet"', "listed.parquet, column 'Ödem': holds lists; expected one value a cell"),
        ('dicom = "none"', "none: no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path, spec.format(table))
    headers = 'name = "own"\npatient = "PatientID"\n[[tables]]\ndicom = "hospital"\n[image]\nfile = "file"\n'
    with pytest.raises(InputError, match=r"hospital: no DICOM image below it \(0 DICOM files\)"):
        read(tmp_path, f'{headers}[[labels]]\nnames = ["Modality"]')
    for encoding in ("cp1252", "latin-1"):
        table = f'file = "t.csv"\nseparator = ";"\nencoding = "{encoding}"'
        assert read(tmp_path, spec.format(table), check_files=False).targets.tolist() == [[1]]


FINDINGS = ("Edema", "Mass", "Hernia")


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.none() | st.sets(st.sampled_from(FINDINGS)), min_size=1, max_size=6))
def test_words_in_one_column_and_columns_of_their_own_say_the_same(
    rows: list[set[str] | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """None is an image that nobody labelled."""
    lines = ["file,patient,words," + ",".join(FINDINGS)]
    for number, found in enumerate(rows):
        words = "" if found is None else "; ".join(sorted(found)) or "clear"
        cells = ["" if found is None else str(float(name in found)) for name in FINDINGS]
        lines.append(",".join([f"{number}.png", str(number), words, *cells]))
    table, names = "\n".join(lines), f"names = {list(FINDINGS)}"
    by_word = f'column = "words"\nseparator = ";"\nnone = ["clear"]\n{names}'
    folder = tmp_path_factory.mktemp("words")
    first, second = plain(folder, table, labels=by_word), plain(folder, table, labels=names)
    expected = [[IGNORED] * 3 if found is None else [int(name in found) for name in FINDINGS] for found in rows]
    assert first.targets.tolist() == second.targets.tolist() == expected


def test_a_patient_written_12_0_in_one_table_and_12_in_another_is_one(tmp_path: Path) -> None:
    (tmp_path / "2019.csv").write_text("file,patient\na.png,1.0\nb.png,12.0\nc1.0,v1.0\n")
    (tmp_path / "2020.csv").write_text("file,patient\nd.png,12\n")
    (tmp_path / "l.csv").write_text("patient,Edema\n1,1\n12,0\nv1.0,1\n")
    spec = 'name = "own"\npatient = "patient"\n[[tables]]\nfile = "20*.csv"\n'
    join = '[[tables]]\nfile = "l.csv"\non.patient = "patient"\n[image]\nfile = "file"\n[[labels]]\nnames = ["Edema"]'
    records = read(tmp_path, spec + join, check_files=False)
    assert dict(records.frame[["name", "patient"]].to_numpy()) == {
        "a.png": "1",
        "b.png": "12",
        "c1.0": "v1.0",
        "d.png": "12",
    }
    assert records.targets.ravel().tolist() == [1, 0, 1, 0]


def test_absolute_paths_of_another_machine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,patient,Edema\nD:\\export\\s\\a.png,1,1\nE:\\b.png,2,0\n")
    spec = 'name = "own"\npatient = "patient"\n[[tables]]\nfile = "t.csv"\n[image]\nfile = "file"\n'
    spec += 'prefix = \'D:\\export\\\'\nfolders = ["old"]\n[[labels]]\nnames = ["Edema"]\n'
    records = read(tmp_path, spec, check_files=False)
    assert records.frame[["path", "name"]].to_numpy().tolist() == [["old/s/a.png", "s/a.png"]]
    assert records.rejects["path"].tolist() == ["E:/b.png"]
