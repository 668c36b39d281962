"""``cxr bench result``: from ``cxr train`` to its first step, and what an epoch takes, beside two other loops."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from benchmarks.common.environment import describe, load_average
from benchmarks.common.process import Process
from benchmarks.common.results import spread
from benchmarks.common.settings import PicturesBench, check_positive, chosen
from benchmarks.result.watch import Watched, epoch_parts, watched
from datasets.errors import InputError
from datasets.loading.threads import usable_cores
from datasets.sources.registry import parse_subset
from harness.runs.folder import RunFolder

NOTE = (
    "Ours is cxr train as a user starts it, watched from outside: the first step is there when steps.jsonl is, and "
    "the time counts from before the process is started, its second start on this machine. Epochs are medians of all "
    "but the first, from checkpoint to checkpoint, with the parts that the run records. The other loops' epochs are "
    "reckoned from their steady rates over the same images, to their favour: no start of an epoch, no score, no "
    "checkpoint; their first step counts from before their process is started, too. The baseline reads the original "
    "PNG files in float32, the careful loop JPEG files of the final size, ours its beton. Weights are random."
)
CONFIG = """\
data = {{ dataset = "chestxray14", image_size = {size}, subset = "{subset}" }}
network.name = "densenet121"
init.kind = "none"
schedule = {{ epochs = {epochs}, batch_size = {batch_size} }}
"""
SIZES = {"cpu": 64, "cuda": 256}
STEPS = {"cpu": 4, "cuda": 100}
"""Of one measurement of the other loops."""
SAMPLES = {"cpu": 512, "cuda": 4096}
"""Files that the other loops go through again and again."""
LOOPS = {"careful": "careful loop, OpenCV", "baseline": "baseline loop, float32, Pillow"}
LIMIT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class BenchResult(PicturesBench):
    """Measure the time to the first step and epochs of DenseNet-121 beside a baseline and a careful loop.

    About five minutes on two cores.

    For example:
        cxr bench result --images data/pngs --out benchmarks
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA when there is one."""
    subsets: tuple[str, ...] = ("1k", "5k")
    """Training images of the runs."""
    validation: int = 1000
    """Validation images of an epoch."""
    size: int | None = None
    """Side of the images in pixels, a multiple of 32; default: 64, on a GPU 256."""
    batch_size: int = 32
    """Images of a step."""
    epochs: int = 3
    """Epochs of a run, at least 2: the first is not counted."""

    def measure(self) -> dict[str, Any]:
        import torch

        check_positive(self, "rounds", "batch_size", "validation")
        if self.epochs < 2:
            raise InputError(f"--epochs {self.epochs}: must be at least 2, since the first is not counted")
        counted(self.subsets)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
        device: Literal["cpu", "cuda"] = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        size = SIZES[device] if self.size is None else self.size
        if size % 32 or size <= 0:
            raise InputError(f"--size {size}: must be a multiple of 32")
        options = replace(self, device=device, size=size)
        names = ("device", "size", "batch_size", "validation", "epochs", "rounds")
        about = {"kind": "result", "note": NOTE, **describe(), "made_up": self.images is None}
        about |= chosen(options, *names) | {"workers": usable_cores()}
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            first_step, epochs = options.measured_in(Path(name))
        about["load_average_after"] = load_average()
        return {"environment": about, "first_step": first_step, "epochs": epochs}

    def measured_in(self, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """First steps, and epochs of each run: ours and of the other loops; the options are resolved."""
        from benchmarks.common.prepare import prepare

        shape = {"size": self.size or 0, "batch_size": self.batch_size, "workers": usable_cores()}
        prepare(self.images, folder, samples=SAMPLES[self.device], **shape)
        counts = counted(self.subsets)
        self._write_beton(folder, max(counts.values()))
        starts = [self._train(folder, self.subsets[0], f"start-{n}", max_steps=1) for n in range(self.rounds + 1)]
        first = [_start("ours", "ours, cxr train", [_seconds(one) for one in starts[1:]])]  # the first warms up
        epochs = []
        for subset, count in counts.items():
            run = folder / f"run-{subset}"
            found = self._train(folder, subset, run.name)
            parts = epoch_parts(list(RunFolder(run).metrics()), found)
            middle = {key: median(one[key] for one in parts) for key in parts[0]}
            epochs.append({"subset": subset, "images": count, "loop": "ours", "title": first[0]["title"], **middle})
        for loop, title in LOOPS.items():
            seconds, rates = self._loop(loop, folder / "pictures.json")
            first.append(_start(loop, title, seconds))
            for subset, count in counts.items():
                reckoned = reckoned_epoch(rates, count, self.validation)
                epochs.append({"subset": subset, "images": count, "loop": loop, "title": title, **reckoned})
        return first, sorted(epochs, key=lambda one: one["images"])

    def _write_beton(self, folder: Path, train: int) -> None:
        """Write chestxray14.beton of the same radiographs, again and again, with made-up labels."""
        from benchmarks.common.prepare import LABELS, file_records, repeat_files
        from datasets.convert.convert import convert
        from datasets.convert.request import ConvertOptions

        splits = np.repeat(["train", "validation", "test"], [train, self.validation, self.validation])
        files = repeat_files(sorted((folder / "distinct").iterdir()), folder / "images", len(splits))
        targets = (np.arange(len(splits))[:, None] >> np.arange(len(LABELS)) & 1).astype(np.uint8)
        names = [Path(path).name for path in files]
        records = file_records("chestxray14", folder / "images", names, targets, LABELS)
        ranks = np.where(splits == "train", np.arange(len(splits)), -1)
        convert(records, splits, ranks, folder / "chestxray14.beton", ConvertOptions(size=self.size or 0))

    def _train(self, folder: Path, subset: str, name: str, **more: Any) -> Watched:
        config = folder / f"{subset}.toml"
        config.write_text(CONFIG.format(**{**vars(self), "subset": subset}), encoding="utf-8")
        command = [sys.executable, "-m", "launch.cli", "train", str(config), "--data-dir", str(folder)]
        command += ["--out", str(folder / name), "--device", self.device]
        command += [f"--{key.replace('_', '-')}={value}" for key, value in more.items()]
        found = watched(command, RunFolder(folder / name), folder / f"{name}.log")
        print(f"{name}: first step after {_seconds(found):.2f} s", file=sys.stderr, flush=True)
        return found

    def _loop(self, loop: str, pictures: Path) -> tuple[list[float], dict[str, float]]:
        """Seconds to the first step, and seconds of an image's training, wait for data, and validation."""
        command = [sys.executable, "-m", "benchmarks.step.worker", loop, "densenet121", "transfer_learning"]
        command += [self.device, "auto", str(pictures)]
        seconds: list[float] = []
        for number in range(self.rounds):
            started = time.monotonic()
            process = Process(command, pictures.with_name(f"{loop}.log"))
            try:
                process.answer(LIMIT_S)
                seconds.append(time.monotonic() - started)
                print(f"{loop}: first step after {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
                if number == self.rounds - 1:
                    whole, validation = (
                        process.ask({"what": what, "steps": STEPS[self.device]}, LIMIT_S)
                        for what in ("whole", "validation")
                    )
            finally:
                process.end()
        rates = {name: whole[name] / whole["images"] for name in ("seconds", "data_wait_s")}
        return seconds, {**rates, "validation_s": validation["seconds"] / validation["images"]}


def counted(subsets: Sequence[str]) -> dict[str, int]:
    """Numbers of images by the names that configs have for them; raises InputError for others, and for ``full``."""
    found = {}
    for subset in subsets:
        try:
            found[subset] = parse_subset(subset) or 0
        except ValueError as error:
            raise InputError(f"--subsets: {error}") from None
        if not found[subset]:
            raise InputError(f"--subsets {subset}: must be a number of images, as 200 or 1k")
    return found


def reckoned_epoch(per_image: dict[str, float], train: int, validation: int) -> dict[str, float]:
    """Seconds of an epoch and its parts from the seconds of one image."""
    data_s = train * per_image["data_wait_s"]
    validation_s = validation * per_image["validation_s"]
    seconds = train * per_image["seconds"]
    return {
        "seconds": seconds + validation_s,
        "data_s": data_s,
        "step_s": seconds - data_s,
        "validation_s": validation_s,
    }


def _seconds(found: Watched) -> float:
    assert found.first_step_s is not None, "a training that ended well has made steps"
    return found.first_step_s


def _start(loop: str, title: str, values: Sequence[float]) -> dict[str, Any]:
    middle = {"seconds": median(values), "spread": spread(values), "rounds": len(values)}
    return {"loop": loop, "title": title, **middle, "values": list(values)}
