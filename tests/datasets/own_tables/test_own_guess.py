"""First specs guessed from folders: they read as the harness's own readers do, or say what to check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_kinds import dicom_bytes, dicom_dataset
from hospital import write_hospital
from in_process_cli import run_cli

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.own_tables.guess import guess_spec
from datasets.own_tables.read import open_spec
from datasets.phantom.write import write_phantom
from datasets.sources.records import read_records


def write_dicom(path: Path, *, pixels: bool = True, **elements: object) -> None:
    dataset = dicom_dataset(np.arange(64, dtype=np.uint8).reshape(8, 8), **elements)  # type: ignore[arg-type]
    if not pixels:
        del dataset.Rows, dataset.PixelData
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(dataset))


def guessed(folder: Path, spec: Path) -> str:
    spec.write_text(guess_spec(folder), encoding="utf-8")
    return spec.read_text(encoding="utf-8")


def test_a_guess_converts_to_the_content_of_the_named_reader(tmp_path: Path) -> None:
    (written,) = write_phantom(tmp_path, ["chestxray14"], patients=12, seed=3, size=64, workers=1)
    spec, own, named = tmp_path / "spec.toml", tmp_path / "ChestX-ray14.beton", tmp_path / "chestxray14.beton"
    assert run_cli("convert", "table", "--guess", str(written.folder), "--out", str(spec)) == 0
    options = ("--size", "32", "--workers", "1")
    assert run_cli("convert", "table", "--spec", str(spec), "--out", str(own), *options) == 0
    assert run_cli("convert", "chestxray14", "--root", str(written.folder), "--out", str(named), *options) == 0
    first, second = Beton.open(own).sidecar, Beton.open(named).sidecar
    assert first.content_hash == second.content_hash and first.dataset == "ChestX-ray14"
    assert first.settings["phantom"] is True and first.request_hash != second.request_hash
    assert own.read_bytes() == named.read_bytes()
    columns = ["name", "patient", "view", "split", "subset_rank", "crc32", "sex", "age"]
    assert Beton.open(own).samples[columns].equals(Beton.open(named).samples[columns])


def test_a_hospital_s_tables_are_found_joined_and_described(tmp_path: Path) -> None:
    root = write_hospital(tmp_path / "hospital")
    (root / "hospital.toml").unlink()
    (root / "bilder.xlsx").rename(tmp_path / "bilder.xlsx")
    with pytest.raises(InputError, match=r"no table names its 12 images \(tables: befunde.csv\)"):
        guess_spec(root)
    (tmp_path / "bilder.xlsx").rename(root / "bilder.xlsx")
    (root / "readme.md").touch()
    spec = guessed(root, tmp_path / "guess.toml")
    assert "# CHECK: files that are neither image nor table: 1 .md" in spec
    assert "12 images; the 12 rows of bilder.xlsx Aufnahmen name 12 of them" in spec
    assert 'patient = "Pat-Nr"  # CHECK: 6 patients' in spec
    assert 'encoding = "cp1252"' in spec and 'on = { "Fall" = "Fall-Nr" }' in spec
    assert '"Erguss",  # 3 positive' in spec and 'standort = "Standort"  # Nord 6, Süd 6' in spec
    assert "# CHECK: a blank is taken for missing" in spec and "# not used: Bemerkung" in spec
    assert 'lateral = ["seitlich"]' in spec
    dataset, place = open_spec(tmp_path / "guess.toml")
    records = read_records(dataset, place)
    by_hand = read_records(*open_spec(write_hospital(tmp_path / "again") / "hospital.toml"))
    assert records.frame[["path", "patient", "sex", "age"]].equals(by_hand.frame[["path", "patient", "sex", "age"]])
    assert records.targets.tolist() == by_hand.targets.tolist() and len(records.rejects) == 0


def test_doubts_are_written_down(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image\tEdema\na\tyes\na\t\nlost\tyes\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    spec = guessed(tmp_path, tmp_path / "spec.toml")
    for line in (
        "# 2 images; the 3 rows of t.csv name 1 of them.",
        "CHECK: no column looks like a patient; without one a split leaks",
        'file = "{image}.png"',
        "# CHECK: 1 rows name an image again; each may be there once",
        "# CHECK: the files of 1 images of the table were not found",
        "# CHECK: these columns say nothing but yes; a blank is taken for no",
    ):
        assert line in spec
    with pytest.raises(InputError, match="patient: no column 'CHANGE ME'; known: image, Edema"):
        read_records(*open_spec(tmp_path / "spec.toml"))
    for folder, message in ((tmp_path / "none", "no such folder"), (tmp_path / "empty", "no image below it")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            guess_spec(folder)


def test_exports_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "neu").mkdir()
    rows, more = ["Datei\tPatienten-ID\tBefund"], ["Patienten-ID,Fieber"]
    for number, words in enumerate(("Stauung", "o.B.", "Stauung; Bruch", "", "Bruch", "o.B.")):
        (tmp_path / "neu" / f"ü{number}.png").touch()
        rows.append(f"D:\\Bilder\\ü{number}.png\t{number}.0\t{words}")
        more.append(f"{number},{('ja', 'nein', 'unbekannt')[number % 3]}")
    (tmp_path / "liste.csv").write_text("\n".join(rows), encoding="utf-16")
    (tmp_path / "fieber.csv").write_text("\n".join(more))
    spec = guessed(tmp_path, tmp_path / "spec.toml")
    for line in (
        'patient = "Patienten-ID"  # CHECK: 6 patients',
        'encoding = "utf-16"',
        'prefix = "D:/Bilder/"\nfolders = ["neu"]',
        'none = ["o.B."]  # 2 images\nmissing = [""]  # CHECK: 1 blanks',
    ):
        assert line in spec
    records = read_records(*open_spec(tmp_path / "spec.toml"), check_files=False)
    assert records.frame["path"].tolist() == [f"neu/ü{number}.png" for number in range(6)]
    targets = [[0, 1, 1], [0, 0, 0], [1, 1, 255], [255, 255, 1], [1, 0, 0], [0, 0, 255]]
    assert records.labels == ("Bruch", "Stauung", "Fieber") and records.targets.tolist() == targets


def test_one_word_a_cell_and_a_second_table_of_the_same_columns(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "1.csv").write_text(
        "id,MRN,diagnosis,finding\na,1,Edema,yes\nb,2,normal,no\nc,3,Edema,no\nd,4,normal,yes\n"
    )
    (tmp_path / "2.csv").write_text("id,MRN,diagnosis,finding\ne,5,Edema,yes\nf,6,normal,no\n")
    spec = guessed(tmp_path, tmp_path / "spec.toml")
    assert "# CHECK: 2.csv is not used: it has the columns of 1.csv; a file with * stands for both" in spec
    assert 'column = "diagnosis"' in spec and 'none = ["normal"]  # 2 images' in spec
    assert '"finding",  # 2 positive' in spec
    (tmp_path / "1.csv").write_text("id,MRN\nlost,1\n")
    (tmp_path / "2.csv").write_text("")
    with pytest.raises(
        InputError, match=r"no table names its 6 images \(tables: 1.csv; .*; 2.csv is not used: .*empty"
    ):
        guess_spec(tmp_path)


def test_labels_of_patients_are_joined_by_the_patient(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ImageID,PatientID,site\n1,p1,A\n2,p1,A\n3,p2,B\n")
    (tmp_path / "b.csv").write_text("PatientID,site,Edema,Pneumonia\np1,A,1,0\np2,B,0,-1\n")
    for name in "123":
        (tmp_path / f"{name}.png").touch()
    spec = guessed(tmp_path, tmp_path.parent / "guess.toml")
    assert 'patient = "PatientID"  # CHECK: 2 patients' in spec and 'on = { "PatientID" = "PatientID" }' in spec
    assert 'columns = ["Edema", "Pneumonia"]' in spec and 'uncertain = ["-1"]' in spec
    records = read_records(*open_spec(tmp_path.parent / "guess.toml"), uncertain="one")
    assert records.targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert records.attributes == ("site",) and records.frame["site"].tolist() == ["A", "A", "B"]


def test_dicom_files_without_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    for number in range(4):
        write_dicom(
            folder / f"s{number // 2}" / f"{number}.dcm",
            PatientID=f"P-{number // 2}",
            PatientSex="FM"[number // 2],
            PatientAge=f"{40 + number:03d}Y",
            ViewPosition=("PA", "LL")[number % 2],
            InstitutionName="Nowhere",
            StudyDescription="pneumonia" if number < 2 else "",
            Modality="DX" if number else "CT",
        )
    write_dicom(folder / "report", pixels=False, PatientID="P-9")
    (folder / "s0" / "broken.dcm").write_bytes(b"rubbish")
    shutil.copy(folder / "s0" / "1.dcm", folder / "bare")
    spec = guessed(folder, tmp_path / "spec.toml")
    assert 'dicom = "."' in spec and 'patient = "PatientID"' in spec and 'column = "ViewPosition"  # ' in spec
    head = 'name = "archive"\nroot = "archive"\npatient = "PatientID"\nage = "PatientAge"\nkeep.Modality = ["DX"]\n'
    parts = (
        '[[tables]]\ndicom = "."\n[image]\nfile = "file"\n[sex]\ncolumn = "0010,0040"\n'
        '[view]\ncolumn = "ViewPosition"\n'
        '[attributes]\nsite = "InstitutionName"\n'
        '[[labels]]\ncolumn = "StudyDescription"\nnames = { Pneumonia = "pneumonia" }\nnone = [""]\n'
    )
    (tmp_path / "spec.toml").write_text(head + parts)
    records = read_records(*open_spec(tmp_path / "spec.toml"))
    frame = records.frame[["path", "patient", "view", "sex", "age", "site"]]
    assert frame.astype(object).to_numpy().tolist() == [
        ["bare", "P-0", "lateral", "F", 41, "Nowhere"],
        ["s0/1.dcm", "P-0", "lateral", "F", 41, "Nowhere"],
        ["s1/2.dcm", "P-1", "frontal", "M", 42, "Nowhere"],
        ["s1/3.dcm", "P-1", "lateral", "M", 43, "Nowhere"],
    ]
    assert records.targets.ravel().tolist() == [1, 1, 0, 0]
    assert records.dropped == {"Modality is none of DX": 1}
    assert records.rejects["path"].tolist() == ["s0/broken.dcm"]
    assert records.rejects["reason"].iloc[0].startswith("damaged DICOM header")
    (tmp_path / "spec.toml").write_text(head.replace("PatientAge", "PatientAeg") + parts)
    with pytest.raises(InputError, match=r"age: no column 'PatientAeg'; did you mean PatientAge\?"):
        read_records(*open_spec(tmp_path / "spec.toml"))


def test_an_export_names_dicom_files_by_uid_beside_other_images(tmp_path: Path) -> None:
    names = ["1.2.840.17", "1.2.840.18", "IM000001", "a.png"]
    for name in names[:3]:
        write_dicom(tmp_path / "pacs" / name)
    (tmp_path / "pacs" / "4.5.6").write_bytes(b"no image")
    (tmp_path / "pacs" / "a.png").touch()
    rows = "".join(f"pacs\\{name};{index};a.p. liegend;o.B.\n" for index, name in enumerate(names))
    (tmp_path / "t.csv").write_text(f"Datei;Pat.-ID;Strahlengang;Befund\n{rows}pacs\\b.png;7;p.a.;Infiltrat\n")
    spec = guessed(tmp_path, tmp_path / "spec.toml")
    assert "# 4 images; the 5 rows of t.csv name 4 of them." in spec and 'file = "Datei"' in spec
    assert 'frontal = ["a.p. liegend", "p.a."]' in spec and "neither image nor table: 1 .6" in spec


def test_the_options_of_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_hospital(tmp_path / "hospital")
    spec, out = str(root / "hospital.toml"), tmp_path / "hospital.beton"
    assert run_cli("split", "table", "--spec", spec, "--out", str(tmp_path / "s.csv"), "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["dataset"], counts["num_images"], counts["num_patients"]) == ("hospital", 12, 6)
    convert = ("convert", "table", "--spec", spec, "--size", "32", "--workers", "1", "--out", str(out))
    assert run_cli(*convert, "--manifest", str(tmp_path / "s.csv")) == 0
    assert Beton.open(out).sidecar.settings["title"] == "Hospital of Nowhere"
    samples = Beton.open(out).samples
    assert samples["site"].tolist() == [("Nord", "Süd")[int(patient) % 2] for patient in samples["patient"]]
    for arguments, message in (
        (("--out", "x.beton"), "--spec: give the TOML file that describes the tables"),
        (("--spec", spec), "--out: give the beton to write"),
        (("--spec", spec, "--guess", str(root)), "--guess writes a spec and --spec reads one"),
        (("--guess", str(root), "--out", spec), f"--out {spec}: is there already; --overwrite replaces it"),
        (("--guess", str(root), "--out", "x.beton"), "--out x.beton: the name must end in .toml"),
    ):
        assert run_cli("convert", "table", *arguments) == 2
        assert message in capsys.readouterr().err


def test_betons_of_one_s_own_dataset_are_merged_with_their_attributes(tmp_path: Path) -> None:
    root = write_hospital(tmp_path / "hospital")
    spec = (root / "hospital.toml").read_text(encoding="utf-8")
    (root / "neu" / "b000.png").unlink()
    options = ("--size", "32", "--workers", "1", "--max-rejects", "0.5", "--uncertain", "ignore")
    for site in ("Nord", "Süd"):
        (root / f"{site}.toml").write_text(spec.replace("study =", f'keep.Standort = ["{site}"]\nstudy =', 1))
        files = ("--spec", str(root / f"{site}.toml"), "--out", str(tmp_path / f"{site}.beton"))
        assert run_cli("convert", "table", *files, *options) == 0
    out = tmp_path / "hospital.beton"
    assert (
        run_cli("beton", "merge", str(tmp_path / "Nord.beton"), str(tmp_path / "Süd.beton"), "--out", str(out)) == 0
    )
    merged, north = Beton.open(out), Beton.open(tmp_path / "Nord.beton")
    assert (merged.sidecar.dataset, merged.sidecar.settings["title"]) == ("hospital", "Hospital of Nowhere")
    assert merged.samples["site"].value_counts().to_dict() == {"Süd": 6, "Nord": 5}
    assert merged.samples["uncertain:Edema"].sum() == north.samples["uncertain:Edema"].sum() == 2
    told = {"path": "alt/b000.png", "reason": "no such file", "table": "bilder.xlsx", "row": "2"}
    assert merged.sidecar.rejects == north.sidecar.rejects == [told]
