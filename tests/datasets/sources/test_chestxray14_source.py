"""ChestX-ray14 and its sample: layouts, versions of the table, official lists, and what is refused."""

import numpy as np
import pytest

from datasets.errors import InputError
from datasets.sources.labels import CHESTXRAY14_LABELS
from datasets.sources.records import read_records

HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    ("00000003_001.png", "Hernia", "3", "075", "F", "PA"),
    ("00000003_000.png", "Hernia|Infiltration", "3", "076", "F", "AP"),
    ("00000001_000.png", "No Finding", "1", "058", "M", "PA"),
    ("00030805_000.png", "Pleural_Thickening|Mass", "30805", "027", "M", "PA"),
]


def table(rows=ROWS, header=HEADER_2020, end="", age=""):
    lines = [header + end]
    for name, findings, patient, years, sex, view in rows:
        lines.append(f"{name},{findings},0,{patient},{years}{age},{sex},{view},2682,2749,0.143,0.143{end}")
    return "\n".join(lines) + "\n"


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def make(folder, name="Data_Entry_2017_v2020.csv", images="images", **kwargs):
    put(folder / name, table(**kwargs))
    for row in ROWS:
        put(folder / images / row[0])


def test_schema_and_labels(tmp_path):
    make(tmp_path)
    records = read_records("chestxray14", tmp_path)
    frame = records.frame
    assert records.labels == CHESTXRAY14_LABELS
    assert frame["path"].tolist() == [f"images/{name}" for name in sorted(row[0] for row in ROWS)]
    assert frame["patient"].tolist() == ["00000001", "00000003", "00000003", "00030805"]
    assert frame["study"].tolist() == ["000", "000", "001", "000"]
    assert frame["view"].tolist() == ["frontal"] * 4
    assert frame["official_split"].tolist() == [""] * 4
    assert frame["sex"].tolist() == ["M", "F", "F", "M"]
    assert frame["age"].tolist() == [58, 76, 75, 27]
    named = [{CHESTXRAY14_LABELS[i] for i in np.flatnonzero(row)} for row in records.targets]
    assert named == [set(), {"Hernia", "Infiltration"}, {"Hernia"}, {"Pleural_Thickening", "Mass"}]


@pytest.mark.parametrize(
    "layout",
    [
        {"name": "Data_Entry_2017.csv", "end": ","},
        {"name": "Data_Entry_2017.csv", "header": HEADER_2020 + ","},
        {"header": HEADER_2020.replace("Patient Gender", "Patient Sex")},
        {"age": "Y"},
        {"images": "."},
    ],
)
def test_versions_of_the_table(tmp_path, layout):
    make(tmp_path / "reference")
    make(tmp_path / "other", **layout)
    reference = read_records("chestxray14", tmp_path / "reference")
    other = read_records("chestxray14", tmp_path / "other")
    assert other.frame.drop(columns="path").equals(reference.frame.drop(columns="path"))
    assert np.array_equal(other.targets, reference.targets)


def test_only_three_columns_are_needed(tmp_path):
    put(tmp_path / "Data_Entry_2017.csv", "Patient ID,Image Index,Finding Labels\n3,00000003_000.png,Mass\n\n")
    put(tmp_path / "images/00000003_000.png")
    frame = read_records("chestxray14", tmp_path).frame
    assert frame.loc[0, ["patient", "view"]].tolist() == ["00000003", "unknown"]
    assert frame[["sex", "age"]].isna().all(axis=None)


def test_numbered_folders_from_the_parent(tmp_path):
    home = tmp_path / "nih"
    put(home / "Data_Entry_2017.csv", table())
    for number, row in enumerate(ROWS):
        put(home / f"images_{number + 9:03d}" / "images" / row[0])
    frame = read_records("chestxray14", tmp_path).frame
    assert frame["path"].tolist() == [
        "nih/images_009/images/00000003_001.png",
        "nih/images_010/images/00000003_000.png",
        "nih/images_011/images/00000001_000.png",
        "nih/images_012/images/00030805_000.png",
    ]


def test_newest_table_wins(tmp_path):
    make(tmp_path, name="Data_Entry_2017.csv", rows=[("00000001_000.png", "Mass", "1", "58", "M", "PA")])
    make(tmp_path)
    records = read_records("chestxray14", tmp_path)
    assert [table.name for table in records.tables] == ["Data_Entry_2017_v2020.csv"]
    assert len(records.frame) == 4


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
def test_official_lists_with_or_without_final_newline(tmp_path, end):
    make(tmp_path)
    put(tmp_path / "train_val_list.txt", "00000003_000.png\n00000003_001.png" + end)
    put(tmp_path / "test_list.txt", "00000001_000.png\n00030805_000.png" + end)
    records = read_records("chestxray14", tmp_path)
    assert records.frame["official_split"].tolist() == ["test", "train", "train", "test"]
    assert [(t.name, t.num_rows) for t in records.tables[1:]] == [("train_val_list.txt", 2), ("test_list.txt", 2)]


def test_image_in_both_official_lists(tmp_path):
    make(tmp_path)
    put(tmp_path / "train_val_list.txt", "00000001_000.png")
    put(tmp_path / "test_list.txt", "00000001_000.png")
    with pytest.raises(InputError, match=r"test_list.txt: 00000001_000.png is in the other official list too"):
        read_records("chestxray14", tmp_path)


@pytest.mark.parametrize("images", ["images", "sample/images", "sample/sample/images"])
def test_sample_layouts(tmp_path, images):
    header = HEADER_2020.split("OriginalImage[")[0] + (
        "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
    )
    make(tmp_path / "kaggle", name="sample_labels.csv", images=images, header=header, age="Y")
    for root in (tmp_path, tmp_path / "kaggle"):
        records = read_records("chestxray14_5.6k", root)
        assert records.dataset == "chestxray14_5.6k"
        assert records.frame["age"].tolist() == [58, 76, 75, 27]
        assert all((root / path).is_file() for path in records.frame["path"])


def test_sample_nested_again_takes_the_nearer_copy(tmp_path):
    make(tmp_path, name="sample_labels.csv", images="sample/images")
    make(tmp_path / "sample", name="sample_labels.csv", images="sample/images")
    records = read_records("chestxray14_5.6k", tmp_path)
    assert set(records.frame["path"].str.rpartition("/")[0]) == {"sample/images"}


def test_refused_rows(tmp_path):
    bad = [
        ("../00000005_000.png", "Mass", "5", "1", "M", "PA"),
        ("/00000005_000.png", "Mass", "5", "1", "M", "PA"),
        ("scan.png", "Mass", "5", "1", "M", "PA"),
        ("00000005_000.png", "Mass", "6", "1", "M", "PA"),
        ("00000007_000.png", "Mass", "7", "1", "M", "PA"),
    ]
    make(tmp_path, rows=[*ROWS, *bad])
    records = read_records("chestxray14", tmp_path)
    assert records.rejects.set_index("path")["reason"].to_dict() == {
        "../00000005_000.png": "points outside the root: '..'",
        "/00000005_000.png": "points outside the root: an absolute path",
        "scan.png": "expected NNNNNNNN_NNN.png",
        "00000005_000.png": "its first eight digits differ from 'Patient ID'",
        "images/00000007_000.png": "no such file",
    }
    assert len(records.frame) == 4 and "00000007" in records.patients


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("00000009_000.png", "Masss", "9", "1", "M", "PA"), "row 6, column 'Finding Labels': unknown label 'Masss'"),
        (("00000009_000.png", "", "9", "1", "M", "PA"), "row 6, column 'Finding Labels': blank"),
        (("00000009_000.png", "Mass", "", "1", "M", "PA"), "row 6, column 'Patient ID': ''; expected a number"),
        (ROWS[0], r"00000003_001.png is listed more than once \(Data_Entry_2017_v2020.csv row 2, .* row 6\)"),
    ],
)
def test_rows_that_stop_the_reading(tmp_path, row, problem):
    make(tmp_path, rows=[*ROWS, row])
    with pytest.raises(InputError, match=problem):
        read_records("chestxray14", tmp_path)


def test_no_table_and_no_images(tmp_path):
    looked = r"Data_Entry_2017_v2020.csv\[.gz\], Data_Entry_2017.csv\[.gz\]"
    with pytest.raises(InputError, match=f"no table found; looked for {looked}"):
        read_records("chestxray14", tmp_path)
    put(tmp_path / "Data_Entry_2017.csv", table())
    with pytest.raises(InputError, match=r"none of the 4 images .* looked in images/, images_001/images/"):
        read_records("chestxray14", tmp_path)


def test_no_image_of_the_asked_view(tmp_path):
    make(tmp_path)
    with pytest.raises(InputError, match="views = 'lateral': none of the 4 images is lateral"):
        read_records("chestxray14", tmp_path, views="lateral")


def test_missing_column(tmp_path):
    put(tmp_path / "Data_Entry_2017.csv", "Image Index,Finding Labels\n00000001_000.png,Mass\n")
    with pytest.raises(InputError, match=r"no column 'Patient ID'; its columns are Image Index, Finding Labels"):
        read_records("chestxray14", tmp_path)


def test_linked_image_folder_is_followed(tmp_path):
    make(tmp_path / "elsewhere")
    put(tmp_path / "nih" / "Data_Entry_2017.csv", table())
    (tmp_path / "nih" / "images").symlink_to(tmp_path / "elsewhere" / "images")
    assert len(read_records("chestxray14", tmp_path / "nih").frame) == 4


def test_a_link_that_leads_back_to_itself_is_passed_over(tmp_path):
    make(tmp_path)
    (tmp_path / "images_002").symlink_to(tmp_path / "images_002")
    (tmp_path / "images_003").symlink_to(tmp_path)
    assert len(read_records("chestxray14", tmp_path).frame) == len(ROWS)


def test_a_folder_of_dicom_files(tmp_path):
    make(tmp_path, images="images_002/images")
    for path in tmp_path.rglob("*.png"):
        path.rename(path.with_suffix(".dcm"))
    put(tmp_path / "images" / ROWS[0][0])
    frame = read_records("chestxray14", tmp_path).frame
    names = sorted(row[0] for row in ROWS)
    assert frame["name"].tolist() == sorted(names, key=lambda name: (name != ROWS[0][0], name))
    assert frame["path"].tolist() == [
        f"images/{ROWS[0][0]}",
        *(f"images_002/images/{name[:-4]}.dcm" for name in names if name != ROWS[0][0]),
    ]
