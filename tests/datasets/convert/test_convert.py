from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_dataset import image_path, read_dataset, three_files, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.sidecar import sidecar_path
from datasets.beton.verify import verify
from datasets.beton.writer import journal_path
from datasets.convert.convert import convert
from datasets.convert.pool import DecodePool
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.images.decode import decode_gray
from datasets.images.resize import fit
from datasets.sources.labels import IGNORED

NUM_IMAGES = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), NUM_IMAGES)


@pytest.fixture(scope="module")
def beton(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Beton:
    out = tmp_path_factory.mktemp("beton") / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=32, workers=2))
    return Beton.open(out)


def test_every_image_is_there_with_its_labels_and_split(root: Path, beton: Beton) -> None:
    records, splits, ranks = read_dataset(root)
    assert beton.num_samples == NUM_IMAGES
    for index, path in enumerate(records.frame["path"]):
        np.testing.assert_array_equal(beton.page(index), fit(decode_gray(root / path), 32))
    np.testing.assert_array_equal(beton.targets, records.targets)
    samples = beton.samples
    assert list(samples["index"]) == list(range(NUM_IMAGES))
    for column in ("path", "name", "patient", "study", "view", "sex"):
        assert list(samples[column]) == list(records.frame[column])
    assert list(samples["split"]) == list(splits)
    assert list(samples["subset_rank"]) == list(ranks)
    assert verify(beton) == []


def test_the_sidecar_counts(root: Path, beton: Beton) -> None:
    sidecar = beton.sidecar
    assert (sidecar.dataset, sidecar.image_size, sidecar.num_patients) == ("chestxray14", 32, NUM_IMAGES // 2)
    twelve = NUM_IMAGES // 5
    assert {label: n for label, n in sidecar.positives.items() if n} == dict.fromkeys(
        ("Mass", "Edema", "Hernia", "Cardiomegaly", "Effusion", "Infiltration"), twelve
    )
    assert sum(sidecar.splits.values()) == NUM_IMAGES
    assert sidecar.splits == {"train": 48, "validation": 6, "test": 6}
    assert (sidecar.rejects, sidecar.dropped) == ([], {})
    pixels = {"resize": "shorter", "large_jpeg": "reduced", "decoder": 3, "encoding": "raw"}
    settings = {**pixels, "uncertain": "zero", "views": "all"}
    assert sidecar.settings == settings
    assert [table["name"] for table in sidecar.source_tables] == ["Data_Entry_2017_v2020.csv"]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_bytes_for_any_number_of_workers(root: Path, beton: Beton, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=32, workers=workers))
    assert three_files(out) == three_files(beton.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nih.beton", "nih.beton.json", "nih.samples.parquet"]


READ_BY_FFCV = """
import sys
import numpy as np
from ffcv.fields.decoders import IntDecoder, NDArrayDecoder
from ffcv.loader import Loader, OrderOption
from datasets.loading.ffcv.fields import LabelsDecoder, LabelsField

loader = Loader(
    sys.argv[1],
    batch_size=16,
    num_workers=1,
    order=OrderOption.SEQUENTIAL,
    drop_last=False,
    os_cache=True,
    pipelines={"image": [NDArrayDecoder()], "labels": [LabelsDecoder()], "index": [IntDecoder()]},
    custom_fields={"labels": LabelsField},
)
batches = [[np.array(part) for part in batch] for batch in loader]
images, labels, indices = (np.concatenate(parts) for parts in zip(*batches, strict=True))
np.savez(sys.argv[2], images=images, labels=labels, indices=indices)
"""


@pytest.mark.parametrize("size", [32, 160])
def test_ffcvs_own_loader_reads_it(root: Path, tmp_path: Path, size: int) -> None:
    """In a process of its own: it makes numba's one type of uint8 arrays read-only (``OSCacheManager.state_type``),
    after which no kernel that takes such an array can be compiled any more."""
    out, result = tmp_path / "nih.beton", tmp_path / "read.npz"
    convert(*read_dataset(root), out, ConvertOptions(size=size, workers=2))
    command = [sys.executable, "-W", "ignore", "-c", READ_BY_FFCV, str(out), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    opened, read = Beton.open(out), np.load(result)
    np.testing.assert_array_equal(read["indices"][:, 0], np.arange(NUM_IMAGES))
    np.testing.assert_array_equal(read["labels"], opened.targets)
    np.testing.assert_array_equal(read["images"][:, 0], opened.gather(np.arange(NUM_IMAGES)))


def spoil(root: Path, *numbers: int) -> None:
    for number in numbers:
        data = image_path(root, number).read_bytes()
        image_path(root, number).write_bytes(data[: len(data) // 2])


def test_images_that_cannot_be_used_are_left_out_and_listed(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "nih", 40)
    before, _, _ = read_dataset(root)
    spoil(root, 4, 21)
    image_path(root, 30).unlink()
    out = tmp_path / "nih.beton"
    sidecar = convert(*read_dataset(root), out, ConvertOptions(size=32, workers=2, max_rejects=0.1))
    reasons = {Path(reject["path"]).name: reject["reason"] for reject in sidecar.rejects}
    assert set(reasons) == {image_path(root, number).name for number in (4, 21, 30)}
    assert reasons[image_path(root, 30).name] == "no such file"
    assert reasons[image_path(root, 4).name].startswith("truncated PNG")
    beton = Beton.open(out)
    kept = [number for number in range(40) if number not in (4, 21, 30)]
    assert list(beton.samples["path"]) == list(before.frame["path"].iloc[kept])
    assert list(beton.samples["index"]) == list(range(37))
    np.testing.assert_array_equal(beton.targets, before.targets[kept])
    train = beton.samples["split"] == "train"
    assert sorted(beton.samples["subset_rank"][train]) == list(range(train.sum()))
    assert set(beton.samples["subset_rank"][~train]) <= {-1}
    assert verify(beton) == []


def test_too_many_rejects_stop_the_conversion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_dataset(tmp_path / "nih", 40)
    spoil(root, 3, 4, 5)
    out = tmp_path / "nih.beton"
    with pytest.raises(InputError, match=r"3 of 40 images cannot be used so far, more than --max-rejects 0\.05"):
        convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1, max_rejects=0.05))
    assert image_path(root, 3).name in caplog.text
    assert not out.exists()
    assert convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1, max_rejects=0.1)).num_samples == 37


def test_missing_images_count_as_rejects(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "nih", 40)
    image_path(root, 7).unlink()
    with pytest.raises(InputError, match="1 of 40 images"):
        convert(*read_dataset(root), tmp_path / "nih.beton", ConvertOptions(size=32, workers=1))


def test_on_error_stop_names_the_first(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "nih", 40)
    spoil(root, 9, 12)
    with pytest.raises(InputError, match=f"{image_path(root, 9)}: truncated PNG"):
        convert(
            *read_dataset(root),
            tmp_path / "nih.beton",
            ConvertOptions(size=32, workers=2, on_error="stop", max_rejects=1.0),
        )


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "nih", 4)
    spoil(root, 0, 1, 2, 3)
    with pytest.raises(InputError, match="none of the 4 images could be used"):
        convert(*read_dataset(root), tmp_path / "nih.beton", ConvertOptions(size=32, workers=1, max_rejects=1.0))


def test_nothing_is_done_twice_and_nothing_else_is_overwritten(
    root: Path, beton: Beton, caplog: pytest.LogCaptureFixture
) -> None:
    before = beton.path.stat().st_mtime_ns
    caplog.set_level("INFO")
    assert convert(*read_dataset(root), beton.path, ConvertOptions(size=32)) == beton.sidecar
    assert "whole already" in caplog.text
    with pytest.raises(InputError, match="made from other tables or settings"):
        convert(*read_dataset(root), beton.path, ConvertOptions(size=64))
    records, splits, ranks = read_dataset(root)
    with pytest.raises(InputError, match="made from other tables or settings"):
        convert(records, np.full_like(splits, "train"), ranks, beton.path, ConvertOptions(size=32))
    assert beton.path.stat().st_mtime_ns == before


def test_overwrite_replaces_what_is_there(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1))
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"exists but cannot be used.*truncated.*--overwrite replaces it"):
        convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1))
    assert convert(*read_dataset(root), out, ConvertOptions(size=64, workers=1, overwrite=True)).image_size == 64
    assert verify(Beton.open(out)) == []


@pytest.mark.parametrize("lost", ["sidecar", "samples and sidecar"])
def test_a_kill_between_the_renames_is_mended(root: Path, beton: Beton, tmp_path: Path, lost: str) -> None:
    out = tmp_path / "nih.beton"
    key_holder = tmp_path / "other" / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1))
    spare = write_until_journal(root, key_holder)
    out.with_name(sidecar_path(out).name).unlink()
    journal_path(out).write_bytes(spare)
    if lost != "sidecar":
        out.with_suffix(".samples.parquet").unlink()
    convert(*read_dataset(root), out, ConvertOptions(size=32, workers=1))
    assert three_files(out) == three_files(beton.path)


def write_until_journal(root: Path, out: Path) -> bytes:
    """The journal of a conversion just before it is thrown away."""
    from datasets.beton.writer import BetonWriter
    from datasets.convert.convert import _decode, _journal_key
    from datasets.convert.request import Request
    from datasets.sources.records import RejectGuard

    records, splits, ranks = read_dataset(root)
    request = Request(records, splits, ranks, ConvertOptions(size=32, workers=1, max_rejects=0, on_error="stop"))
    with BetonWriter(out, request.layout, key=_journal_key(request), stamp=request.stamp) as writer:
        _decode(request, writer, RejectGuard(records, 0.0, stop_at_first=True))
    return journal_path(out).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "size = 100 must be a multiple of 32"),
        ({"size": 1048576}, "size = 1048576 must be a multiple of 32 pixels, 4096 at most"),
        ({"workers": 0}, "workers = 0 must be at least 1"),
        ({"resize": "stretch"}, "resize 'stretch' is unknown; known: shorter, squash"),
        ({"on_error": "skip"}, "on_error 'skip' is unknown; known: reject, stop"),
    ],
)
def test_settings_out_of_range_are_refused(root: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(*read_dataset(root), tmp_path / "x.beton", ConvertOptions(**options))


def test_content_hash_says_what_is_in_it_not_how_it_was_made(root: Path, beton: Beton, tmp_path: Path) -> None:
    records, splits, ranks = read_dataset(root)
    again = convert(
        records, splits, ranks, tmp_path / "a.beton", ConvertOptions(size=32, split_settings={"split": "by hand"})
    )
    assert again.content_hash == beton.sidecar.content_hash
    assert again.request_hash != beton.sidecar.request_hash
    moved = convert(records, np.roll(splits, 1), ranks, tmp_path / "b.beton", ConvertOptions(size=32))
    assert moved.content_hash != again.content_hash


def test_splits_may_come_from_a_manifest(root: Path, beton: Beton, tmp_path: Path) -> None:
    from datasets.splits.manifest import write_manifest
    from datasets.splits.split import SplitConfig
    from launch.cli.convert import Convert

    manifest, out = tmp_path / "splits.csv", tmp_path / "nih.beton"
    records, splits, ranks = read_dataset(root)
    write_manifest(manifest, records, splits, ranks, SplitConfig())
    Convert(dataset="chestxray14", root=root, out=out, size=32, manifest=manifest).run()
    opened = Beton.open(out)
    assert opened.sidecar.content_hash == beton.sidecar.content_hash
    assert set(opened.sidecar.settings) == {*beton.sidecar.settings, "manifest"}
    pd.testing.assert_frame_equal(opened.samples, beton.samples)
    assert json.loads(sidecar_path(out).read_text())["num_samples"] == NUM_IMAGES


def test_labels_that_every_image_ignores_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records, splits, ranks = read_dataset(write_dataset(tmp_path / "nih", 12))
    records.targets[:, 3] = IGNORED
    with caplog.at_level("WARNING"):
        convert(records, splits, ranks, tmp_path / "nih.beton", ConvertOptions(size=32, workers=1))
    assert f"ignored in every image, so never learnt: {records.labels[3]}" in caplog.text


def test_a_conversion_stopped_before_its_first_whole_part_says_that_it_begins_anew(
    root: Path, beton: Beton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(*_: object) -> object:
        raise KeyboardInterrupt

    out, options = tmp_path / "nih.beton", ConvertOptions(size=32, workers=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DecodePool, "decode", stopped)
        convert(*read_dataset(root), out, options)
    assert journal_path(out).exists()
    with caplog.at_level("INFO"):
        convert(*read_dataset(root), out, options)
    assert "an earlier conversion was not finished; no part of it is whole, it begins anew" in caplog.text
    assert Beton.open(out).sidecar.content_hash == beton.sidecar.content_hash
