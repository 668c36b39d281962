"""cxr doctor on betons and runs: leaks are found, named and told from what only looks like one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from split_beton import Row, make_beton, write_run
from tiny_runs import tiny_config

from datasets.beton.mixed import open_beton
from datasets.loading.check_ffcv import FfcvFacts
from datasets.splits.leaks import leaks_between_splits
from harness.config import AttentionTransfer, BetaSearch, DataConfig, NetworkConfig, RunConfig, Weights
from launch.doctor.data import check_betons, check_ffcv_here, check_roots, check_weights
from launch.doctor.finding import Finding
from launch.doctor.runs import check_runs


def teacher_of(dataset: str) -> RunConfig:
    data = DataConfig(dataset=dataset, image_size=32)
    return tiny_config(data=data, network=NetworkConfig(name="densenet121"))


def student_of(dataset: str, teacher: RunConfig) -> RunConfig:
    objective = AttentionTransfer(teacher=Weights(kind="run", run=teacher))
    return tiny_config(data=DataConfig(dataset=dataset, image_size=32), objective=objective)


def troubles(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in findings if finding.level != "ok"]


CLEAN: list[Row] = [
    ("a.png", "1", "train", 1),
    ("b.png", "1", "train", 2),
    ("c.png", "2", "validation", 3),
    ("d.png", "3", "test", 4),
]


def test_a_clean_beton_is_well(tmp_path: Path) -> None:
    make_beton(tmp_path, "chexpert", CLEAN)
    (found,) = check_betons(tmp_path)
    assert (found.level, found.area) == ("ok", "beton chexpert.beton")
    assert found.what == "4 images of 32 px (train 2, validation 1, test 1)"


def test_patients_and_images_in_two_splits_are_found(tmp_path: Path) -> None:
    rows: list[Row] = [*CLEAN, ("e.png", "1", "test", 5), ("f.png", "4", "test", 3), ("g.png", "5", "test", 2)]
    beton = make_beton(tmp_path, "chexpert", rows)
    leaks = {str(leak) for leak in leaks_between_splits(beton)}
    assert leaks == {
        "1 patients in both train and test: 1",
        "1 images in both train and test: g.png",
        "1 images in both validation and test: f.png",
    }
    found = list(check_betons(tmp_path))
    assert [finding.level for finding in found] == ["ok", "fail", "fail", "fail"]
    assert all(finding.fix for finding in found[1:])


def test_blank_images_warn_alone(tmp_path: Path) -> None:
    make_beton(tmp_path, "chexpert", [*CLEAN, ("e.png", "6", "train", -7), ("f.png", "7", "test", -7)])
    assert troubles(list(check_betons(tmp_path))) == [("warn", "1 images in both train and test: f.png (blank)")]


def test_equal_checksums_of_other_pixels_are_no_leak(tmp_path: Path) -> None:
    """Among 200,000 images some have equal checksums by chance; the pixels decide."""
    beton = make_beton(tmp_path, "chexpert", CLEAN)
    beton.samples["crc32"] = 7
    assert leaks_between_splits(beton) == []


def test_damaged_and_foreign_betons_are_named(tmp_path: Path) -> None:
    beton = make_beton(tmp_path, "chexpert", CLEAN)
    with beton.path.open("ab") as handle:
        handle.write(b"x")
    (tmp_path / "other.beton").write_bytes(b"not a beton")
    levels = [(finding.area, finding.level) for finding in check_betons(tmp_path)]
    assert levels == [("beton chexpert.beton", "fail"), ("beton other.beton", "fail")]


@pytest.mark.parametrize("part", ["chestxray14_5.6k", "rsna_pneumonia"])
def test_a_teacher_that_saw_a_test_image_is_found(tmp_path: Path, part: str) -> None:
    """Both are parts of ChestX-ray14: patients 8 and 9 are in a test split and in the teacher's training."""
    teachers = make_beton(tmp_path, "chestxray14", [*CLEAN, ("t.png", "8", "train", 9), ("u.png", "9", "train", 10)])
    students = make_beton(
        tmp_path,
        part,
        [
            ("a.png", "1", "train", 1),
            ("c.png", "2", "validation", 3),
            ("t.png", "8", "test", 9),
            ("x.png", "9", "test", 11),
        ],
    )
    teacher, runs_dir = teacher_of("chestxray14"), tmp_path / "runs"
    student = student_of(part, teacher)
    write_run(runs_dir, teacher, teachers.sidecar.content_hash)
    write_run(runs_dir, student, students.sidecar.content_hash)
    write_run(runs_dir, dataclasses.replace(student, seed=1), students.sidecar.content_hash)
    found = troubles(list(check_runs(runs_dir, tmp_path)))
    head = f"{teacher.name}, teacher of {student.name} and 1 other run, has seen test images: "
    tail = f"in both its training images and the test split of {part}.beton: "
    assert found == [
        ("fail", f"{head}1 images {tail}t.png"),
        ("fail", f"{head}2 patients {tail}8, 9"),
        ("fail", f"{head}1 images by name {tail}t.png"),
    ]


def test_a_mix_is_compared_part_by_part(tmp_path: Path) -> None:
    """A teacher of one part, split alike, saw no test image; one of a sample of it saw the mix's test patient."""
    make_beton(tmp_path, "chestxray14", CLEAN)
    sample = make_beton(tmp_path, "chestxray14_5.6k", [(name, who, "train", seed) for name, who, _, seed in CLEAN])
    make_beton(tmp_path, "clinic", [(name, who, split, seed + 50) for name, who, split, seed in CLEAN])
    mix = open_beton(tmp_path / "chestxray14+clinic.beton")
    for dataset, beton in (("chestxray14", mix.parts[0]), ("chestxray14_5.6k", sample)):
        teacher = teacher_of(dataset)
        student = student_of("chestxray14+clinic", teacher)
        runs_dir = tmp_path / f"runs_{dataset}"
        write_run(runs_dir, teacher, beton.sidecar.content_hash)
        write_run(runs_dir, student, mix.sidecar.content_hash)
        found = [what for level, what in troubles(list(check_runs(runs_dir, tmp_path))) if level == "fail"]
        assert [what.partition("seen test images: ")[2].partition(" in both")[0] for what in found] == (
            [] if dataset == "chestxray14" else ["1 images", "1 patients", "1 images by name"]
        )


def test_one_beton_for_both_is_well_and_another_split_is_doubtful(tmp_path: Path) -> None:
    beton = make_beton(tmp_path, "chexpert", CLEAN)
    teacher = teacher_of("chexpert")
    student = student_of("chexpert", teacher)
    for name, other, expected in (("same", beton.sidecar.content_hash, []), ("other", "sha256:0", ["warn"])):
        write_run(tmp_path / name, teacher, other)
        write_run(tmp_path / name, student, beton.sidecar.content_hash)
        assert [level for level, _ in troubles(list(check_runs(tmp_path / name, tmp_path)))] == expected


def test_what_reached_a_run_behind_its_teacher_or_by_a_search_is_found(tmp_path: Path) -> None:
    published = Weights(kind="xrv", name="densenet121-res224-mimic_ch", sha256="0" * 64)
    student = student_of("mimic_cxr", dataclasses.replace(teacher_of("vindr_cxr"), init=published))
    write_run(tmp_path / "xrv", student, "sha256:0")
    (found,) = troubles(list(check_runs(tmp_path / "xrv", tmp_path)))
    what = "has seen mimic_cxr, by a split of its own"
    assert found == ("warn", f"densenet121-res224-mimic_ch, teacher of {student.name}, {what}")
    template = student_of("chestxray14", teacher_of("vindr_cxr"))
    search = BetaSearch(template=template, points=(1.0, 2.0))
    objective = AttentionTransfer(teacher=Weights(), beta=search)
    searched = tiny_config(data=DataConfig(dataset="rsna_pneumonia", image_size=32), objective=objective)
    write_run(tmp_path / "search", searched, "sha256:1")
    found, *_ = troubles(list(check_runs(tmp_path / "search", tmp_path)))
    source = f"the beta search of {template.name}, beta search of {searched.name}"
    assert found[1].startswith(f"{source}: trained on chestxray14 by another split or beton")


def test_runs_that_failed_or_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, tiny_config(), None, state="failed")
    write_run(tmp_path, tiny_config(seed=1), None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "notes").mkdir()
    found = list(check_runs(tmp_path, tmp_path))
    assert [level for level, _ in troubles(found)] == ["warn", "warn"]
    assert troubles(found)[0][1].startswith(f"{tmp_path / 'broken' / 'config.json'}: not a JSON file")
    assert troubles(found)[1][1] == f"{tiny_config().run_id} failed: the disk is full"
    assert f"2 runs in {tmp_path}: 1 done, 1 failed" in [finding.what for finding in found]
    shutil.copytree(tmp_path / tiny_config().run_id, tmp_path / "again")
    found = list(check_runs(tmp_path, tmp_path))
    assert f"2 runs in {tmp_path}, 3 folders: 1 done, 2 failed" in [finding.what for finding in found]


def test_a_root_names_missing_and_damaged_files(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(4):
        name = f"{number + 1:08d}_000.png"
        Image.fromarray(np.full((40, 40), 9, dtype=np.uint8)).save(folder / name)
        lines.append(f"{name},Mass,0,{number + 1},50,M,PA")
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_text("\n".join(lines) + "\n")
    (folder / "00000002_000.png").unlink()
    (folder / "00000003_000.png").write_bytes(b"")
    found = list(check_roots({"chestxray14": tmp_path, "chexpert": tmp_path}))
    assert [(finding.area, finding.level) for finding in found] == [
        ("root chestxray14", "ok"),
        ("root chestxray14", "warn"),
        ("root chestxray14", "warn"),
        ("root chexpert", "fail"),
    ]
    assert found[0].what == "3 images of 3 patients (Data_Entry_2017_v2020.csv 4 rows)"
    assert found[1].what.startswith("1 rows cannot be used: no such file (the first of all: images/00000002_000.png")
    assert found[2].what == f"{folder / '00000003_000.png'}: empty file"
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000003_000.png\n00000004_000.png\n")
    assert [finding.level for finding in check_roots({"chestxray14": tmp_path})] == ["ok", "warn", "warn"]
    extra = "00000001_001.png,Mass,1,1,50,M,PA\n"
    table.write_text(table.read_text() + extra)
    Image.fromarray(np.full((40, 40), 9, dtype=np.uint8)).save(folder / "00000001_001.png")
    (tmp_path / "test_list.txt").write_text("00000001_001.png\n")
    leaks = [finding.what for finding in check_roots({"chestxray14": tmp_path}) if "two of" in finding.what]
    assert leaks == ["1 patients are in two of the dataset's own splits, such as 00000001"]
    table.write_text("nothing,here\n1,2\n")
    assert [finding.level for finding in check_roots({"chestxray14": tmp_path})] == ["fail"]


def test_files_of_weights_are_looked_at(tmp_path: Path) -> None:
    torch.save(torchvision.models.densenet121().state_dict(), tmp_path / "densenet121.pth")
    (tmp_path / "xrv.pt").write_bytes(b"not weights")
    found = list(check_weights(tmp_path / "densenet121.pth", [tmp_path / "xrv.pt"]))
    assert [(finding.area, finding.level) for finding in found] == [
        ("imagenet weights", "ok"),
        ("xrv weights", "fail"),
    ]
    assert [finding.level for finding in check_weights(tmp_path / "absent.pth", [])] == ["fail"]


def test_findings_are_plain_json(tmp_path: Path) -> None:
    make_beton(tmp_path, "chexpert", [*CLEAN, ("e.png", "1", "test", 5)])
    documents = json.loads(json.dumps([dataclasses.asdict(finding) for finding in check_betons(tmp_path)]))
    assert documents[1].keys() == {"area", "level", "what", "fix"}


def test_kernels_in_a_temporary_folder_are_named_and_not_blamed_on_ffcv(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path("/tmp/cxr-harness-numba-7")
    facts = FfcvFacts(version="1", same_pixels=True, kernel_cache=cache, cache_writable=True)
    monkeypatch.setattr("datasets.loading.check_ffcv.check_ffcv", lambda: facts)
    ffcv, numba = check_ffcv_here()
    assert (ffcv.level, numba.level) == ("ok", "warn")
    assert numba.what.startswith("neither the package's nor the home folder can be written; kernels are kept in /tmp")


def test_an_image_that_may_not_look_as_meant_is_a_finding(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Patient ID"
    (tmp_path / "Data_Entry_2017.csv").write_text(f"{header}\n00000001_000.png,Mass,1\n")
    (tmp_path / "images").mkdir()
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64) % 200
    Image.fromarray(values).save(tmp_path / "images" / "00000001_000.png")
    _, doubtful = check_roots({"chestxray14": tmp_path})
    assert doubtful.level == "warn" and doubtful.what.endswith("have the same upper byte: one gray value")
