from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_dataset import read_dataset, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.sidecar import samples_path, sidecar_path
from datasets.beton.verify import verify
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from launch.cli import main

NUM_IMAGES, SIZE = 100, 160


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("nih"), NUM_IMAGES)
    (root / "images_001" / "images" / "00000003_001.png").write_bytes(b"")
    out = tmp_path_factory.mktemp("beton") / "nih.beton"
    convert(
        *read_dataset(root),
        out,
        ConvertOptions(size=SIZE, workers=2, split_settings={"split": {"kind": "random", "seed": 0}}),
    )
    return out


@pytest.fixture
def beton(original: Path, tmp_path: Path) -> Path:
    target = tmp_path / "nih.beton"
    for path_of in (Path, sidecar_path, samples_path):
        shutil.copyfile(path_of(original), path_of(target))
    return target


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ 0x10]))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["inspect", *arguments])
    return int(end.value.code or 0)


def test_json_has_the_agreed_keys_and_nothing_else_on_standard_output(
    original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(original), "--json", "--verify") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["dataset"] == "chestxray14"
    assert (values["num_samples"], values["num_patients"], values["image_size"]) == (99, 50, SIZE)
    assert values["labels"][:2] == ["Atelectasis", "Cardiomegaly"]
    assert values["positives"]["Hernia"] == 20
    assert sum(values["splits"].values()) == 99
    assert set(values["positives_by_split"]) == {"train", "validation", "test"}
    assert sum(values["positives_by_split"][name]["Hernia"] for name in values["splits"]) == 20
    assert values["content_hash"].startswith("sha256:")
    assert (values["whole"], values["verified"], values["problems"]) == (True, True, [])
    assert values["rejects"] == [{"path": "images_001/images/00000003_001.png", "reason": "empty file"}]


def test_the_table_shows_counts_and_what_was_left_out(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(original)) == 0
    output = capsys.readouterr().out
    assert "99 images of 50 patients" in output
    assert "20.2%" in output
    assert "empty file" in output
    assert "seed 0" in output


def test_an_altered_page_is_named_and_the_status_is_2(beton: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Beton.open(beton)
    flip(beton, int(opened.layout.offsets(99)[83]) + 100)
    name = opened.samples["path"].iloc[83]
    assert run(str(beton)) == 0
    assert run(str(beton), "--verify", "--json") == 2
    captured = capsys.readouterr()
    assert f"image 83 ({name}): its pixels were altered; convert the dataset again" in captured.err
    assert captured.err.count("error:") == 1
    values = json.loads(captured.out[captured.out.rindex('{\n  "verified"') :])
    assert values == {
        "verified": True,
        "whole": False,
        "problems": [f"image 83 ({name}): its pixels were altered"],
    }


def refused_or_found(beton: Path) -> bool:
    try:
        return verify(Beton.open(beton)) != []
    except InputError:
        return True


def test_the_untouched_copy_is_sound(beton: Path) -> None:
    assert not refused_or_found(beton)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_anywhere_in_the_beton_is_found(beton: Path, seed: int) -> None:
    flip(beton, int(np.random.default_rng(seed).integers(0, beton.stat().st_size)))
    assert refused_or_found(beton)


@pytest.mark.parametrize(
    "offset",
    [
        0,
        4,
        8,
        16,
        24,
        30,
        1000,
        1041 + 24 + 17,
        3146,
        3147,
        3147 + 10,
        3147 + 30,
        3147 + 99 * 32 + 1,
        1_000_000,
        -1,
        -24,
    ],
)
def test_a_flipped_byte_around_the_pages_is_found(beton: Path, offset: int) -> None:
    flip(beton, offset % beton.stat().st_size)
    assert refused_or_found(beton)


@pytest.mark.parametrize("companion", [sidecar_path, samples_path])
@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_byte_in_a_companion_is_found(beton: Path, companion, seed: int) -> None:
    path = companion(beton)
    flip(path, int(np.random.default_rng(seed).integers(0, path.stat().st_size)))
    assert refused_or_found(beton)


@pytest.mark.parametrize("gap", ["behind the first block", "behind the last image"])
def test_bytes_in_the_gaps_are_found(beton: Path, gap: str) -> None:
    layout = Beton.open(beton).layout
    offset = layout.block_start(1) - 1 if gap == "behind the first block" else layout.data_end(99) - 1
    flip(beton, offset)
    assert [problem for problem in verify(Beton.open(beton)) if "gap behind image" in problem]


def test_a_missing_beton_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "no.beton"), "--json") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {tmp_path / 'no.beton'}: no such file; make it with 'cxr convert'\n"


def test_on_a_narrow_terminal_no_label_and_no_number_is_cut(
    original: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run(str(original)) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert "..." not in out
    assert all(label in out for label in Beton.open(original).labels)


def test_a_beton_is_converted_and_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.beton"
    link.symlink_to(tmp_path / "far" / "nih.beton")
    convert(*read_dataset(write_dataset(tmp_path / "root", 6)), link, ConvertOptions(size=32, workers=1))
    assert link.is_symlink()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["link.beton"]
    assert Beton.open(link).sidecar == Beton.open(tmp_path / "far" / "nih.beton").sidecar
