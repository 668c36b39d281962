"""Loaders by workers, size, batch size and disk: points, shares and words for given figures, and one real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.contenders import LOADERS
from benchmarks.page.scaling import scaling_section, verdict
from benchmarks.page.write import write_results
from benchmarks.scaling import bench
from benchmarks.scaling.bench import BenchScaling, Point, by_names, cold_row, iter_powers
from benchmarks.scaling.disk import sequential_rate
from datasets.errors import InputError

RAW = next(one for one in LOADERS if one.name == "raw_pages")


def test_workers_double_up_to_the_cores_there_are() -> None:
    assert [list(iter_powers(cores)) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_every_point_is_measured_once_and_the_shared_one_first() -> None:
    options = BenchScaling(sizes=(128, 256), batch_sizes=(64, 32))
    assert options.points(2) == [Point(2, 256, 64), Point(1, 256, 64), Point(2, 128, 64), Point(2, 256, 32)]


def answer(*, cold_s: float, warm_s: float, disk: float, read: int = 6400) -> dict[str, Any]:
    """100 images of 64 bytes."""
    return {
        "images": 100,
        "cold_s": cold_s,
        "warm_s": warm_s,
        "read_bytes": read,
        "disk_bytes_per_s": disk,
        "disk_by": "O_DIRECT",
    }


def test_shares_are_of_the_rates_of_their_own_round() -> None:
    """A disk of 100 images/s, then of 400: the contender reaches 80 % of it, then 50 %, which is all it can."""
    rounds = [answer(cold_s=1.25, warm_s=0.5, disk=6400.0), answer(cold_s=0.5, warm_s=0.5, disk=25600.0, read=3200)]
    row = cold_row(RAW, rounds, 64)
    assert (row["images_per_s"], row["warm_images_per_s"], row["disk_images_per_s"]) == (140.0, 200.0, 250.0)
    assert row["values"] == [80.0, 200.0] and row["spread"] == 60.0
    assert (row["share_of_disk"], row["share_of_reachable"]) == (pytest.approx(0.65), pytest.approx(0.9))
    assert (row["read_share"], row["disk_mb_per_s"], row["disk_by"]) == (0.75, 0.016, "O_DIRECT")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share_of_disk": 0.8}, "reached"),
        ({"share_of_disk": 0.79, "share_of_reachable": 0.8}, "the processor limits it, not the disk"),
        ({"share_of_disk": 0.79, "share_of_reachable": 0.79}, "missed"),
        ({"share_of_disk": 2.0, "read_share": 0.0}, "not from a disk: the files stayed in memory"),
        ({"ours": False}, ""),
    ],
)
def test_a_share_of_the_disk_gets_its_word(changes: dict[str, Any], words: str) -> None:
    assert (
        verdict({"ours": True, "read_share": 1.0, "share_of_disk": 1.0, "share_of_reachable": 1.0} | changes) == words
    )


def test_a_whole_file_is_read_for_the_rate_of_its_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes((1 << 20) + 5))
    found = sequential_rate(path)
    assert found.num_bytes == (1 << 20) + 5 and found.seconds > 0
    assert found.per_s == found.num_bytes / found.seconds and found.by in ("O_DIRECT", "posix_fadvise")


def test_numbers_that_make_no_sense_are_refused() -> None:
    for changes in ({"rounds": 0}, {"sizes": (0,)}, {"workers": (-1,)}, {"seconds": 0.0}):
        options: dict[str, Any] = changes
        with pytest.raises(InputError, match="must be above 0"):
            BenchScaling(**options).measure()


@pytest.mark.slow
def test_a_point_and_an_epoch_from_the_disk_are_measured_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of our tiers, each in its own process, on made-up radiographs of 64 x 64."""
    monkeypatch.setattr(bench, "SCALED", ("raw_uint8",))
    monkeypatch.setattr(bench, "COLD", ("raw_pages",))
    monkeypatch.setattr("benchmarks.common.prepare.PHANTOM_SIZE", 96)
    monkeypatch.setattr("benchmarks.common.prepare.PHANTOM_PATIENTS", 5)
    options = BenchScaling(sizes=(64,), batch_sizes=(8,), workers=(1,), size=64, batch_size=8, samples=160)
    measured = BenchScaling(**{**vars(options), "rounds": 1, "seconds": 0.05}).measure()
    (point,), (row,) = measured["points"], measured["cold"]
    assert (point["workers"], point["size"], point["batch_size"]) == (1, 64, 8)
    assert point["rows"][0]["name"] == "raw_uint8" and point["rows"][0]["images_per_s"] > 0
    assert row["name"] == "raw_pages" and row["images_per_s"] > 0 and row["warm_images_per_s"] > 0
    assert measured["environment"]["kind"] == "scaling" and measured["environment"]["samples"] == 160
    page = write_results(measured, tmp_path).read_text()
    assert all(part in page for part in scaling_section(measured).split("\n\n"))
    assert "(scaling.png)" in page
    assert f"| 1 | 64 | 8 | {point['rows'][0]['images_per_s']:,.0f} (0) |" in page
    assert json.loads((tmp_path / "scaling.json").read_text())["cold"] == [row]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert by_names(bench.COLD) == [RAW]
