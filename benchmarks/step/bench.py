"""Measure training steps of the harness, a baseline and a careful loop."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.common.environment import command_line, describe
from benchmarks.common.prepare import prepare
from benchmarks.common.results import Row, as_json, make_row
from benchmarks.step.case import CASES, Case, Kind
from benchmarks.step.device import VALIDATION_BATCHES, mixed_dtype
from benchmarks.step.process import Process
from benchmarks.step.ratios import EPOCH, STEP, STREAMED, VALIDATION, WHOLE, Measured, rates, share, step_ratios
from datasets.errors import InputError

NOTE = (
    "Each loop has a process of its own and the same cores, and waits while it is not its turn; the turns of a round "
    "follow each other, and each round starts with another loop. A turn begins with a step that is not measured, and "
    "ends with giving memory back to the system. Whole steps and validation are timed from the arrival of a batch to "
    "that of another some steps later, with loaders whose workers have long been started: the start of an epoch "
    "counts for nobody, but for ours in the share of an epoch that it waits for data. The baseline loop reads the "
    "original PNG files, the careful one JPEG files of the final size, ours its beton; the plain one computes in "
    "float32, the other two in bfloat16 where the device has arithmetic for it. Networks have random weights."
)
GPU_NOTE = (
    " On a GPU the clock starts and stops when the device has done all that it was asked for, memory is that of "
    "tensors on it, and the overhead is what the loop takes more than its step's parts called one after the other."
)
TITLES: dict[Kind, str] = {
    "reference": "baseline loop, float32, Pillow",
    "careful": "careful loop, OpenCV",
    "ours": "ours",
    "careful_compiled": "careful loop with torch.compile",
    "ours_compiled": "ours with torch.compile",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and for how long."""

    rounds: int = 3
    device: Literal["cpu", "cuda"] = "cpu"
    steps: int = 2
    """Timed steps of a round."""
    samples: int = 256
    size: int = 256
    batch_size: int = 32
    workers: int = 2
    compiled: bool = False
    only: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    """Loops to measure; all of them if empty."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.steps, self.samples, self.size, self.batch_size, self.workers) <= 0:
            raise InputError("--rounds, --steps, --samples, --size, --batch-size and --workers must be above 0")
        if self.size % 32:
            raise InputError(f"--size {self.size}: must be a multiple of 32")
        validation_batch = VALIDATION_BATCHES[self.device]
        least = (self.steps + 1) * max(self.batch_size, validation_batch)
        if self.samples < least:
            raise InputError(
                f"--samples {self.samples}: must be at least {least}, which is --steps and one more, times the "
                f"larger of --batch-size and {validation_batch}, the batch of validation"
            )
        known = [case.name for case in CASES]
        unknown = [name for name in self.only if name not in known]
        if unknown:
            raise InputError(f"--only {unknown[0]}: no such case; known: {', '.join(known)}")
        strange = [name for name in self.loops if name not in TITLES]
        if strange:
            raise InputError(f"--loops {strange[0]}: no such loop; known: {', '.join(TITLES)}")

    def kinds(self, case: Case) -> list[Kind]:
        """The loops of a case; with torch.compile, which takes minutes to start, those of DenseNet-121 alone."""
        kinds = list(TITLES)[: 5 if self.compiled and case.network == "densenet121" else 3]
        return [kind for kind in kinds if not self.loops or kind in self.loops]


def bench_step(
    images: Path | None, settings: Settings, keep: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Measure and return the object of ``cxr bench step --json``; ``keep`` gets it, as far as it goes, each round.

    Raises:
        InputError: if there is no PNG below ``images``.
        RuntimeError: if a loop's process ends in the middle.
    """
    about, started = describe(command_line()), time.monotonic()
    measured: Measured = {}
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
        folder = Path(name)
        pictures = prepare(
            images,
            folder,
            samples=settings.samples,
            size=settings.size,
            batch_size=settings.batch_size,
            workers=settings.workers,
        )
        pictures.write(folder / "pictures.json")
        about |= _circumstances(settings) | {"radiographs": len(pictures.png), "made_up": images is None}
        for case in CASES:
            if not settings.only or case.name in settings.only:
                for _ in measure_case(case, folder, settings, measured):
                    keep(_document(about, measured, started))
    return _document(about, measured, started)


def _circumstances(settings: Settings) -> dict[str, Any]:
    """What the object says of the measurement beside the machine."""
    return {
        "kind": "step",
        "note": NOTE + GPU_NOTE if settings.device == "cuda" else NOTE,
        "device": settings.device,
        "precision": str(mixed_dtype(torch.device(settings.device))).removeprefix("torch."),
        "samples": settings.samples,
        "size": settings.size,
        "batch_size": settings.batch_size,
        "workers": settings.workers,
        "rounds": settings.rounds,
        "steps": settings.steps,
    }


def _document(about: dict[str, Any], measured: Measured, started: float) -> dict[str, Any]:
    """The object, of what has been measured so far."""
    minutes, load = round((time.monotonic() - started) / 60, 1), round(os.getloadavg()[0], 2)
    rows = [_row(key, found) for key, found in measured.items() if found]
    return as_json(about | {"minutes": minutes, "load_average_after": load}, rows, step_ratios(measured))


def measure_case(case: Case, folder: Path, settings: Settings, found: Measured) -> Iterator[None]:
    """Add all rounds of one case to ``found``; a turn after each."""
    kinds = settings.kinds(case)
    with ExitStack() as stack:
        running = []
        for kind in kinds:
            log = folder / f"{case.name}.{kind}.log"
            running.append(stack.enter_context(Process(kind, case, folder / "pictures.json", settings.device, log)))
            if settings.device == "cpu":  # together they would not fit into a small machine's memory
                running[-1].answer()
        if settings.device == "cuda":
            for process in running:
                process.answer()
        for number in range(settings.rounds):
            first = number % len(running)
            for process in [*running[first:], *running[:first]]:
                process.measure("wake", 0)
                for what, call, steps in _wanted(case, process.kind, number, settings):
                    made = process.measure(call, steps)
                    found.setdefault((case.name, process.kind, what), []).append(made)
                    print(
                        f"round {number + 1}/{settings.rounds}  {case.name:<24}{process.kind:<18}{what:<24}"
                        f"{made['images'] / made['seconds']:>8.2f} images/s",
                        file=sys.stderr,
                        flush=True,
                    )
                process.measure("rest", 0)
            yield


def _wanted(case: Case, kind: Kind, number: int, settings: Settings) -> list[tuple[str, str, int]]:
    """What a loop is asked for in round ``number``: its title, its method's name, and the steps.

    Validation is a part of the first case, epochs one of DenseNet-40 by transfer learning, from memory and streamed
    in turns.
    """
    wanted = [(STEP, "loader_free", max(1, settings.steps // 2)), (WHOLE, "whole", settings.steps)]
    if case.validates and not kind.endswith("_compiled"):
        wanted.append((VALIDATION, "validation", settings.steps))
    if case == CASES[2] and kind == "ours":
        both = [(EPOCH, "epoch", 0), (STREAMED, "epoch_streamed", 0)]
        wanted += both if settings.rounds == 1 else both[number % 2 :][:1]
    return wanted


def _row(key: tuple[str, Kind, str], found: Sequence[dict[str, float]]) -> Row:
    case, kind, what = key
    peak = max(one["peak_bytes"] for one in found) / 2**30
    waits = f", waits for data {share(found, 'data_wait_s'):.2%}" if "data_wait_s" in found[0] else ""
    title = f"{TITLES[kind]} (peak {peak:.1f} GiB{waits})"
    name = f"{case} {kind} {what}"
    return make_row(name, title, f"{case}, {what}", ours=kind.startswith("ours"), values=rates(found))
