"""``cxr bench scaling``: loaders against workers, image size and batch size, and with a cold cache."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.common.contenders import LOADERS, Contender
from benchmarks.common.environment import describe, load_average
from benchmarks.common.pictures import Pictures
from benchmarks.common.process import Process
from benchmarks.common.results import Row, spread
from benchmarks.common.rounds import measure_rounds, rotated, started
from benchmarks.common.settings import PicturesBench, check_positive, chosen
from datasets.errors import InputError
from datasets.loading.threads import usable_cores

NOTE = (
    "Our tiers and the strongest peer on the same raw pages, each in a process of its own with so many workers and "
    "cores, in interleaved rounds from a warm page cache. What is not said of a point is as at the others. Reading "
    "from the disk is one epoch in random order by a process that has just been started, with the files dropped from "
    "the system's cache (posix_fadvise) beforehand; the disk's sequential rate is of large reads of the same file "
    "just before, and every share is of the rate of its own round. The same process then measures such an epoch from "
    "the cache."
)
SCALED = ("raw_float32", "raw_uint8", "jpeg_uint8", "opencv_pages")
"""What is measured at every point, by its name among the loaders."""
COLD = ("raw_pages", "raw_float32", "opencv_pages")
"""What reads files that are not in the cache."""
START_S, EPOCH_S = 300.0, 900.0
DRAWN_SIZE = 256
"""Shorter side of made-up radiographs in pixels, where no page is larger."""


class Point(NamedTuple):
    """Where loaders are measured."""

    workers: int
    size: int
    """Side of the images in pixels."""
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class BenchScaling(PicturesBench):
    """Measure our loader and the strongest peer against workers, image size, batch size, and with a cold cache.

    TMPDIR says on which disk. About five minutes on two cores.

    For example:
        cxr bench scaling --images data/pngs --out benchmarks
    """

    sizes: tuple[int, ...] = (128, 256, 384, 512)
    """Sides of the images in pixels."""
    batch_sizes: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Images of a batch."""
    workers: tuple[int, ...] = ()
    """Workers and cores; default: 1, 2, 4 and so on up to the cores there are."""
    size: int = 256
    """Side of the images where that is not what changes."""
    batch_size: int = 64
    """Images of a batch where that is not what changes."""
    samples: int = 8192
    """Samples of an epoch of ``size``; of larger images as many as have the same pixels together."""
    seconds: float = 1.0
    """Least duration of one measurement."""

    def measure(self) -> dict[str, Any]:
        check_positive(self, "rounds", "seconds", "samples", "size", "batch_size")
        for name in ("sizes", "batch_sizes", "workers"):
            if min(getattr(self, name), default=1) <= 0:
                raise InputError(f"--{name.replace('_', '-')}: every number must be above 0")
        from benchmarks.common.prepare import PHANTOM_SIZE, prepare, source_pngs

        about = {"kind": "scaling", "note": NOTE, **describe(), "made_up": self.images is None}
        about |= chosen(self, "size", "batch_size", "samples", "seconds", "rounds")
        points = self.points(usable_cores())
        cores = max(point.workers for point in points)
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            # Pages alone are read here, so that made-up radiographs need not be much larger.
            drawn = min(max(DRAWN_SIZE, *(point.size for point in points)), PHANTOM_SIZE)
            source_pngs(self.images, Path(name), limit=self.samples, size=drawn)
            images = self.images or Path(name) / "phantom"
            made: dict[int, Pictures] = {}
            for size in sorted({point.size for point in points}):
                samples = min(self.samples, self.samples * self.size**2 // size**2)
                folder = Path(name) / str(size)
                folder.mkdir()
                shape = {"samples": samples, "size": size, "batch_size": self.batch_size, "workers": cores}
                made[size] = prepare(images, folder, **shape)
            measured = [self._at(point, made[point.size]) for point in points]
            cold = self._cold(made[self.size], made[min(made)])
            about |= {"radiographs": len(made[self.size].png), "beton_bytes": _bytes(made[self.size].beton)}
        about["load_average_after"] = load_average()
        return {"environment": about, "points": measured, "cold": cold}

    def points(self, cores: int) -> list[Point]:
        """Every point once, the one that all axes share among them."""
        workers = self.workers or tuple(iter_powers(cores))
        base = Point(max(workers), self.size, self.batch_size)
        found = [base._replace(workers=count) for count in workers]
        found += [base._replace(size=size) for size in self.sizes]
        found += [base._replace(batch_size=count) for count in self.batch_sizes]
        return list(dict.fromkeys([base, *found]))

    def _at(self, point: Point, pictures: Pictures) -> dict[str, Any]:
        folder = Path(pictures.folder)
        file = folder / "point.json"
        replace(pictures, workers=point.workers, batch_size=point.batch_size).write(file)
        print(f"{point.workers} workers, {point.size} px, batches of {point.batch_size}", file=sys.stderr, flush=True)
        with started(by_names(SCALED), file, folder) as (running, failed):
            values = measure_rounds(running, failed, rounds=self.rounds, seconds=self.seconds)
        rows = [asdict(Row.of(one, values.get(one.name, ()), failed.get(one.name))) for one in by_names(SCALED)]
        return {**point._asdict(), "rows": rows}

    def _cold(self, pictures: Pictures, warm_up: Pictures) -> list[dict[str, Any]]:
        """What each contender reaches from the disk; every round is a new process."""
        files = Path(pictures.folder) / "pictures.json", Path(warm_up.folder) / "pictures.json"
        contenders = by_names(COLD)
        found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
        for number in range(self.rounds):
            for one in rotated(contenders, number):
                answer = from_disk(one, *files)
                found[one.name].append(answer)
                rate, disk = answer["images"] / answer["cold_s"], answer["disk_bytes_per_s"] / 1e6
                said = f"round {number + 1}/{self.rounds}  {one.name:<24}{rate:>12,.0f} images/s from a cold cache"
                print(f"{said}, disk {disk:,.0f} MB/s", file=sys.stderr, flush=True)
        page_bytes = pictures.size**2
        return [cold_row(one, found[one.name], page_bytes) for one in contenders]


def by_names(names: Sequence[str]) -> list[Contender]:
    """Loaders by their names."""
    known = {one.name: one for one in LOADERS}
    return [known[name] for name in names]


def iter_powers(cores: int) -> Iterator[int]:
    """1, 2, 4 and so on below ``cores``, then ``cores``."""
    count = 1
    while count < cores:
        yield count
        count *= 2
    yield cores


def from_disk(contender: Contender, pictures: Path, warm_up: Path) -> dict[str, Any]:
    """What ``benchmarks.scaling.cold`` says of one contender; raises ContenderError."""
    command = [*contender.command, str(warm_up)]
    command[command.index("benchmarks.common.worker")] = "benchmarks.scaling.cold"
    process = Process(command, pictures.with_name(f"{contender.name}.cold.log"))
    try:
        process.answer(START_S)
        answer: dict[str, Any] = process.ask({"pictures": str(pictures)}, EPOCH_S)
    finally:
        process.end()
    return answer


def cold_row(contender: Contender, rounds: Sequence[Mapping[str, Any]], page_bytes: int) -> dict[str, Any]:
    """Medians over the rounds of one contender.

    ``share_of_disk`` is what the stored pages come at over the disk's sequential rate; ``share_of_reachable`` over
    that or the contender's own rate from the cache, whichever is smaller. ``read_share`` is what the disk had to read
    over what is stored, 0 where nothing came from a disk or the system does not count it.
    """
    cold = [one["images"] / one["cold_s"] for one in rounds]
    warm = [one["images"] / one["warm_s"] for one in rounds]
    disk = [one["disk_bytes_per_s"] / page_bytes for one in rounds]
    return {
        "name": contender.name,
        "title": contender.title,
        "output": contender.output,
        "ours": contender.ours,
        "rounds": len(rounds),
        "images_per_s": median(cold),
        "spread": spread(cold),
        "values": cold,
        "warm_images_per_s": median(warm),
        "disk_images_per_s": median(disk),
        "disk_mb_per_s": median(one["disk_bytes_per_s"] for one in rounds) / 1e6,
        "disk_by": rounds[0]["disk_by"],
        "share_of_disk": median(rate / most for rate, most in zip(cold, disk, strict=True)),
        "share_of_reachable": median(rate / min(most) for rate, *most in zip(cold, disk, warm, strict=True)),
        "read_share": median(one["read_bytes"] / (one["images"] * page_bytes) for one in rounds),
    }


def _bytes(path: str) -> int:
    return Path(path).stat().st_size
