"""cxr predict: new images are read as the training images were, so test images get their stored predictions again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_kinds import dicom_file
from PIL import Image
from scipy.special import expit
from tiny_runs import LABELS, FinishedRun

from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.preprocess import Preprocessing
from datasets.convert.protocol import Reject
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.sources.records import read_records
from harness.export.predict import Prediction, image_files, predict_images
from harness.export.saved_model import open_model
from launch.cli import main


def stored(run: FinishedRun) -> pd.DataFrame:
    """Path and probability by label of the run's own test predictions."""
    frame = pd.read_parquet(run.folder.predictions_file)
    return pd.DataFrame({"path": frame["path"], **{label: expit(frame[f"logit:{label}"]) for label in LABELS}})


def images_of(run: FinishedRun) -> Path:
    return run.runtime.data_dir / "images"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_test_images_get_their_stored_predictions(
    finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = stored(finished_run)
    paths = [images_of(finished_run) / path for path in frame["path"]]
    options = ("--json", "--device", "cpu", "--batch-size", 7, "--workers", 1)
    assert call("predict", finished_run.folder.path, *paths, *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert [list(row) for row in found] == [["path", *LABELS]] * len(paths)
    assert [row["path"] for row in found] == [str(path) for path in paths]
    values = np.array([[row[label] for label in LABELS] for row in found])
    assert np.abs(values - frame[list(LABELS)].to_numpy()).max() < 1e-5


def test_a_jpeg_beton_and_large_images_take_the_converters_way(tmp_path: Path) -> None:
    """A beton made with other settings than usual, from large PNG and JPEG files: its pages come out again."""
    root = tmp_path / "nih"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(6):
        name = f"{number:08d}_000.png"
        small = Image.fromarray(rng.integers(0, 256, (9, 11), dtype=np.uint8))
        large = small.resize((400 + 40 * number, 520), Image.Resampling.BICUBIC)
        large.save(root / "images" / name, "JPEG" if number % 2 else "PNG")
        lines.append(f"{name},Mass,0,{number},50,M,PA")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    records = read_records("chestxray14", root)
    out, splits = tmp_path / "x.beton", np.array(["train"] * 6)
    settings = {"size": 64, "resize": "squash", "large_jpeg": "full", "encoding": "jpeg", "quality": 60}
    sidecar = convert(records, splits, np.arange(6), out, ConvertOptions(workers=1, **settings))
    preprocessing = Preprocessing.of(sidecar)
    assert preprocessing == Preprocessing(size=64, resize="squash", large_jpeg="full", jpeg_quality=60)
    beton = Beton.open(out)
    files = [root / path for path in beton.samples["path"]]
    pages = list(preprocessing.pages(files, workers=1))
    assert np.array_equal(np.stack(pages), beton.gather(np.arange(6)))


def test_a_bad_image_is_named_and_the_others_are_predicted(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = images_of(finished_run) / "0000.png"
    bad, absent = tmp_path / "bad.png", tmp_path / "absent.dcm"
    bad.write_bytes(good.read_bytes()[:200])
    command = ("predict", finished_run.folder.path, bad, good, absent, "--device", "cpu", "--workers", 1)
    assert call(*command, "--csv") == 2
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["path"] for row in rows] == [str(good)]
    first, second, last = captured.err.splitlines()
    assert first.startswith(f"{bad}: ")
    assert second == f"{absent}: no such file"
    assert last == "error: 2 of 3 images could not be used; each is named above with its reason"


def test_a_folder_stands_for_its_images_and_the_table_shows_each_label(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("b.PNG", "inner/a.png"):
        shutil.copy(images_of(finished_run) / "0001.png", tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    assert image_files([tmp_path])[0] == [tmp_path / "b.PNG", tmp_path / "inner" / "a.png"]
    runs_dir = finished_run.folder.path.parent
    part = finished_run.config.run_id[-8:]
    assert call("predict", part, tmp_path, "--runs-dir", runs_dir, "--device", "cpu", "--workers", 1) == 0
    out = capsys.readouterr().out
    assert "b.PNG" in out
    assert all(out.count(label) == 1 for label in LABELS)
    with pytest.raises(InputError, match="no image in this folder"):
        image_files([finished_run.folder.path / "checkpoint"])


def test_on_a_narrow_terminal_no_label_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from launch.cli.model.predict import _print_table

    monkeypatch.setenv("COLUMNS", "24")
    _print_table(("Pneumonia", "Pneumothorax"), [Prediction(Path("/a/a_long_name_of_a_file.png"), (0.25, 0.5))])
    out = capsys.readouterr().out
    assert "…" not in out
    assert "Pneumonia" in out
    assert "Pneumothorax" in out


def test_content_decides_links_are_followed_and_what_was_passed_over_is_named(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "I0000001").write_bytes(dicom_file(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)))
    shutil.copy(images_of(finished_run) / "0001.png", elsewhere / "b.png")
    shutil.copy(images_of(finished_run) / "0001.png", elsewhere / "a\nb.txt")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "notes").write_text("no image")
    files, passed = image_files([folder])
    assert files == [folder / "I0000001", folder / "linked" / "a\nb.txt", folder / "linked" / "b.png"]
    assert passed == [folder / "loop", folder / "notes"]
    arguments = (finished_run.folder.path, folder, "--device", "cpu", "--workers", 1, "--json")
    assert call("predict", *arguments) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 3
    told = f"passed over 2 files that are no PNG, JPEG or DICOM: {folder / 'loop'}, {folder / 'notes'}"
    assert told in captured.err


def test_an_image_that_may_not_look_as_meant_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) % 200).save(tmp_path / "x.png")
    with caplog.at_level("WARNING"):
        (page,) = Preprocessing(size=32).pages([tmp_path / "x.png"], workers=1)
    assert not isinstance(page, Reject) and not page.any()
    assert f"{tmp_path / 'x.png'}: its 16-bit values, 0 to 199, have the same upper byte" in caplog.text


def test_without_its_beton_a_run_says_what_it_lacks(finished_run: FinishedRun, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished_run.folder.path, copy)
    document = json.loads((copy / "provenance.json").read_text())
    del document["preprocessing"]
    (copy / "provenance.json").write_text(json.dumps({**document, "beton": "gone/chestxray14.beton"}))
    with pytest.raises(InputError, match=r"gone/chestxray14\.beton\.json, which was not found; .* --beton FILE"):
        open_model(copy)
    own = finished_run.runtime.beton_for("chestxray14")
    assert open_model(copy, beton=own).preprocessing == Preprocessing(size=64)
    (copy / "provenance.json").write_text(json.dumps({**document, "content_hash": "sha256:00"}))
    with pytest.raises(InputError, match="holds other images"):
        open_model(copy, beton=own)
    recorded = {**document, "beton": "gone.beton", "preprocessing": asdict(Preprocessing(size=64))}
    (copy / "provenance.json").write_text(json.dumps(recorded))
    assert open_model(copy).preprocessing == Preprocessing(size=64)


def test_the_beton_is_found_from_any_folder(
    finished_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run records its beton as it was named; seen from another folder it is looked for above the run."""
    copy = tmp_path / "project" / "runs" / "one"
    shutil.copytree(finished_run.folder.path, copy)
    (tmp_path / "project" / "data").mkdir()
    for file in finished_run.runtime.data_dir.glob("chestxray14.*"):
        shutil.copy(file, tmp_path / "project" / "data")
    document = json.loads((copy / "provenance.json").read_text())
    (copy / "provenance.json").write_text(json.dumps({**document, "beton": "data/chestxray14.beton"}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = open_model(copy)
    assert found.beton == tmp_path / "project" / "data" / "chestxray14.beton"
    assert found.labels == LABELS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch", "x.png"), "no such run"),
        (("RUN", "x.png", "--json", "--csv"), "choose one"),
        (("RUN", "x.png", "--workers", "0"), "--workers 0: expected at least 1"),
        (("RUN", "x.png", "--batch-size", "0"), "--batch-size 0: expected at least 1"),
        (("RUN",), "no IMAGE given"),
    ],
)
def test_bad_options_are_one_line(
    arguments: tuple[str, ...], message: str, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(finished_run.folder.path) if argument == "RUN" else argument for argument in arguments]
    assert call("predict", *given) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert message in captured.err


def test_order_and_batch_size_change_nothing(finished_run: FinishedRun) -> None:
    model = open_model(finished_run.folder.path)
    files = sorted(images_of(finished_run).glob("*.png"))[:5]
    one = list(predict_images(model, files, finished_run.runtime, batch_size=1))
    all_at_once = list(predict_images(model, files[::-1], finished_run.runtime, batch_size=5))[::-1]
    assert [item.path for item in one] == [item.path for item in all_at_once] == files
    first, second = (np.array([item.probabilities for item in found]) for found in (one, all_at_once))
    assert np.abs(first - second).max() < 1e-5
