"""Betons merged into one: equal to a conversion of all images at once; what does not fit together is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process_cli import run_cli
from small_dataset import three_files, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.sidecar import sidecar_path, write_sidecar
from datasets.beton.verify import verify
from datasets.convert.convert import convert
from datasets.convert.merge import merge
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.sources.records import read_records
from datasets.splits.manifest import split_settings
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

TABLE = "Data_Entry_2017_v2020.csv"


def convert_part(root: Path, manifest_of: Path, out: Path, **options: object) -> Path:
    """Convert the rows of ``root``'s table with the splits of the whole dataset ``manifest_of``."""
    whole = read_records("chestxray14", manifest_of)
    split_of = dict(zip(whole.frame["name"], assign_splits(whole, SplitConfig()), strict=True))
    records = read_records("chestxray14", root)
    splits = records.frame["name"].map(split_of).to_numpy(dtype=str)
    options = {"size": 32, "workers": 1, "split_settings": split_settings(SplitConfig()), **options}
    convert(records, splits, subset_ranks(records.frame["name"], splits, 0), out, ConvertOptions(**options))
    return out


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A dataset of 60 images, and the same folder twice with the even and the odd rows of its table."""
    whole = write_dataset(tmp_path_factory.mktemp("whole"), 60)
    head, *rows = (whole / TABLE).read_text().splitlines()
    halves = []
    for first in (0, 1):
        half = tmp_path_factory.mktemp(f"half{first}")
        (half / "images_001").symlink_to(whole / "images_001")
        (half / TABLE).write_text("\n".join([head, *rows[first::2]]) + "\n")
        halves.append(half)
    return whole, halves[0], halves[1]


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_the_halves_merged_are_the_whole_to_the_byte(
    roots: tuple[Path, Path, Path], tmp_path: Path, encoding: str
) -> None:
    whole, *halves = (
        convert_part(root, roots[0], tmp_path / f"{number}.beton", encoding=encoding)
        for number, root in enumerate(roots)
    )
    merge(halves[::-1], tmp_path / "merged.beton")
    merged = Beton.open(tmp_path / "merged.beton")
    beton, sidecar, samples = three_files(merged.path)
    assert (beton, samples) == (three_files(whole)[0], three_files(whole)[2])
    assert merged.sidecar.content_hash == Beton.open(whole).sidecar.content_hash
    assert verify(merged) == []
    assert [table["num_rows"] for table in merged.sidecar.source_tables] == [30, 30]
    merge(halves[::-1], tmp_path / "merged.beton")  # there already
    assert three_files(merged.path) == [beton, sidecar, samples]


def test_a_merge_that_was_stopped_resumes(roots: tuple[Path, Path, Path], tmp_path: Path, monkeypatch) -> None:
    halves = [convert_part(root, roots[0], tmp_path / f"{number}.beton") for number, root in enumerate(roots[1:])]
    merge(halves, tmp_path / "straight.beton")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("datasets.convert.merge.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(halves, tmp_path / "stopped.beton")
    assert not (tmp_path / "stopped.beton").exists()
    monkeypatch.setattr("datasets.beton.writer.BetonWriter.add", killed)  # all pages are there: none is copied again
    merge(halves, tmp_path / "stopped.beton")
    assert three_files(tmp_path / "stopped.beton") == three_files(tmp_path / "straight.beton")


def test_splits_of_a_manifest_need_a_seed_for_the_subsets(roots: tuple[Path, Path, Path], tmp_path: Path) -> None:
    manifest = {"manifest": "sha256:0"}
    whole, *halves = (
        convert_part(root, roots[0], tmp_path / f"{number}.beton", split_settings=manifest)
        for number, root in enumerate(roots)
    )
    out = tmp_path / "merged.beton"
    with pytest.raises(InputError, match=r"record no common seed of their subsets; give it as --subset-seed"):
        merge(halves, out)
    merge(halves, out, subset_seed=0)
    assert (three_files(out)[0], three_files(out)[2]) == (three_files(whole)[0], three_files(whole)[2])


def test_a_patient_who_comes_back_keeps_the_first_split(
    roots: tuple[Path, Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every patient of these betons has one image in each, and the second beton is split by its own seed."""
    first = convert_part(roots[1], roots[0], tmp_path / "a.beton")
    records = read_records("chestxray14", roots[2])
    splits = assign_splits(records, SplitConfig(seed=5))
    options = ConvertOptions(size=32, workers=1, split_settings=split_settings(SplitConfig(split_seed=5)))
    convert(records, splits, subset_ranks(records.frame["name"], splits, 0), tmp_path / "b.beton", options)
    before = Beton.open(first).samples.set_index("patient")["split"]
    differing = (Beton.open(tmp_path / "b.beton").samples.set_index("patient")["split"] != before).sum()
    assert differing > 0
    caplog.set_level("INFO")
    merge([first, tmp_path / "b.beton"], tmp_path / "out.beton")
    assert f"{differing} patients are in several betons and take the split of the first" in caplog.text
    merged = Beton.open(tmp_path / "out.beton")
    assert (merged.samples["split"].to_numpy() == before[merged.samples["patient"]].to_numpy()).all()
    assert merged.sidecar.settings["split"] == {"kind": "merged"}
    ranks = merged.samples.loc[merged.samples["split"] == "train", "subset_rank"]
    assert sorted(ranks) == list(range(len(ranks)))


def test_what_does_not_fit_together_is_refused(roots: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first = convert_part(roots[1], roots[0], tmp_path / "a.beton")
    larger = convert_part(roots[2], roots[0], tmp_path / "larger.beton", size=64)
    squashed = convert_part(roots[2], roots[0], tmp_path / "squashed.beton", resize="squash")
    out = tmp_path / "out.beton"
    for others, said in (
        ([], "needs two betons or more"),
        ([first], "30 images are in more than one of them, such as 00000001_000.png"),
        ([larger], r"larger.beton: image size 64, but .*a.beton has 32; convert them alike"),
        ([squashed], "squashed.beton: resize 'squash', but .*a.beton has 'shorter'"),
        ([out], "out.beton: is itself one of the betons"),
    ):
        with pytest.raises(InputError, match=said):
            merge([first, *others], out)
        assert not out.exists()


def test_a_mix_of_datasets_matches_labels_by_name(roots: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first = convert_part(roots[1], roots[0], tmp_path / "a.beton")
    other = Beton.open(convert_part(roots[2], roots[0], tmp_path / "clinic.beton"))
    labels = ("Gout", *other.labels[1:])  # in place of Atelectasis
    write_sidecar(other.path, dataclasses.replace(other.sidecar, dataset="clinic", labels=labels))
    parts = [Beton.open(first), Beton.open(other.path)]
    with pytest.raises(InputError, match=r"dataset 'clinic', but .* has 'chestxray14'; --name NEW mixes datasets"):
        merge([first, other.path], tmp_path / "mix.beton")
    with pytest.raises(InputError, match="--name 'chestxray14': expected a new name"):
        merge([first, other.path], tmp_path / "mix.beton", name="chestxray14")
    merge([first, other.path], tmp_path / "mix.beton", name="mix")
    mix = Beton.open(tmp_path / "mix.beton")
    assert (mix.sidecar.dataset, mix.labels) == ("mix", (*parts[0].labels, "Gout"))
    assert verify(mix) == []
    samples = mix.samples
    assert samples["patient"].nunique() == 60  # 00000001 of both are two people
    assert list(samples["path"]) == sorted(samples["path"])
    for beton in parts:
        rows = np.flatnonzero(samples["path"].str.startswith(f"{beton.sidecar.dataset}/"))
        assert (samples["patient"].iloc[rows] == f"{beton.sidecar.dataset}/" + beton.samples["patient"].array).all()
        assert samples["split"].iloc[rows].tolist() == beton.samples["split"].tolist()
        shared = [mix.labels.index(label) for label in beton.labels]
        assert np.array_equal(mix.targets[rows][:, shared], beton.targets)
        lacking = [at for at, label in enumerate(mix.labels) if label not in beton.labels]
        assert (mix.targets[rows][:, lacking] == 255).all()
        assert np.array_equal(mix.gather(rows), beton.gather(np.arange(beton.num_samples)))


def test_the_same_images_under_two_names_are_told(
    roots: tuple[Path, Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = convert_part(roots[1], roots[0], tmp_path / "a.beton")
    for path in tmp_path.glob("a.*"):
        shutil.copy(path, path.with_name(path.name.replace("a.", "clinic.", 1)))
    again = Beton.open(tmp_path / "clinic.beton")
    write_sidecar(again.path, dataclasses.replace(again.sidecar, dataset="clinic"))
    merge([first, again.path], tmp_path / "same.beton", name="same")
    assert "have the pixels of one in another split" not in caplog.text  # each pair is in one split
    records = read_records("chestxray14", roots[1])
    splits = assign_splits(records, SplitConfig(seed=5))
    options = ConvertOptions(size=32, workers=1, overwrite=True, split_settings=split_settings(SplitConfig()))
    convert(records, splits, subset_ranks(records.frame["name"], splits, 0), again.path, options)
    write_sidecar(again.path, dataclasses.replace(Beton.open(again.path).sidecar, dataset="clinic"))
    moved = int((splits != Beton.open(first).samples["split"].to_numpy()).sum())
    assert moved > 0
    merge([first, again.path], tmp_path / "torn.beton", name="torn")
    assert f"{2 * moved} images have the pixels of one in another split, such as chestxray14/" in caplog.text


def test_altered_pixels_are_not_copied(roots: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second = (convert_part(root, roots[0], tmp_path / f"{n}.beton") for n, root in enumerate(roots[1:]))
    offset = int(Beton.open(second).final_layout.offsets(30)[7])
    data = bytearray(second.read_bytes())
    data[offset] ^= 1
    second.write_bytes(data)
    with pytest.raises(InputError, match=r"1.beton: the pixels of image 7 were altered; convert it again"):
        merge([first, second], tmp_path / "out.beton")
    assert not (tmp_path / "out.beton").exists()


def test_the_command_merges_and_prints(
    roots: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, root in enumerate(roots[1:]):
        convert_part(root, roots[0], tmp_path / f"{number}.beton")
    shutil.copy(sidecar_path(tmp_path / "0.beton"), tmp_path / "kept.json")
    files = [str(tmp_path / f"{number}.beton") for number in (0, 1)]
    assert run_cli("beton", "merge", *files, "--out", str(tmp_path / "both.beton")) == 0
    assert "chestxray14, 60 images of 30 patients" in capsys.readouterr().out
    assert (tmp_path / "kept.json").read_bytes() == sidecar_path(tmp_path / "0.beton").read_bytes()
    assert run_cli("beton", "merge", *files, "--out", str(tmp_path / "both")) == 2
    assert "the name must end in .beton" in capsys.readouterr().err
