"""``cxr bench step``: measure training steps of the harness, a baseline and a careful loop."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.common.contenders import Contender
from benchmarks.common.environment import describe
from benchmarks.common.process import Process
from benchmarks.common.results import Row, as_json
from benchmarks.common.rounds import rotated
from benchmarks.common.settings import PicturesBench, check_names, check_positive, chosen
from benchmarks.page.write import show_results, write_measured
from benchmarks.step.case import (
    CASES,
    EPOCH,
    LOOPS,
    PARTS,
    STEP,
    STREAMED,
    VALIDATION,
    VALIDATION_BATCHES,
    WHOLE,
    Case,
    Measured,
    rates,
    share,
    step_ratios,
    step_table,
)
from datasets.errors import InputError

NOTE = (
    "Each loop has a process of its own and the same cores, and waits while it is not its turn; the turns of a round "
    "follow each other, and each round starts with another loop. A turn begins with a step that is not measured, and "
    "ends with giving memory back to the system. Whole steps and validation are timed from the arrival of a batch to "
    "that of another some steps later, with loaders whose workers have long been started: the start of an epoch "
    "counts for nobody, but for ours in the share of an epoch that it waits for data. The baseline loop reads the "
    "original PNG files, the careful one JPEG files of the final size, ours its beton; the baseline computes in "
    "float32, the other two in the precision that is named. Networks have random weights."
)
CPU_NOTE = (
    " On the CPU ours has the C library keep the memory that a step frees for the next one, as cxr train does "
    "(datasets/malloc.py): a true part of the gain. The other two loops leave the library as it is, which gives "
    "large blocks back to the system and has them mapped and cleared again, page by page, in each step."
)
GPU_NOTE = (
    " On a GPU the clock starts and stops when the device has done all that it was asked for, memory is that of "
    "tensors on it, and the overhead is what the loop takes more than its step's parts called one after the other."
)
PARTS_NOTE = (
    "Parts of a step are called alone, the same number of times in a row, while in a whole step a GPU overlaps them. "
    "Shares are of the device's rates as they were measured beforehand: of a large product of matrices, in bfloat16 "
    "or float32, whichever is faster, and of a large copy in its memory. Operations and bytes are counted on one "
    "step without compiling, whose operations read their operands from memory and write their results to it; a "
    "compiled step moves fewer."
)
LIMIT_S = 1800.0
"""Longest time for one measurement."""
DEFAULTS = {"cpu": (2, 256), "cuda": (200, 6912)}
"""Steps of a measurement and samples, by device."""
OLD_NAMES = {"reference": "baseline"}


@dataclass
class Found:
    """What has been measured so far."""

    measured: Measured = field(default_factory=dict)
    device: dict[str, float] = field(default_factory=dict)
    """The device's rates."""
    work: dict[str, dict[str, float]] = field(default_factory=dict)
    """Operations and bytes of a step, by case."""


@dataclass(frozen=True, kw_only=True)
class BenchStep(PicturesBench):
    """Measure training steps and validation beside a baseline and a careful loop, in turns; on a GPU if there is one.

    For example:
        cxr bench step --out benchmarks
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA when there is one."""
    steps: int | None = None
    """Steps of one measurement of whole steps, and of validation so many images; default: 2, on a GPU 200."""
    samples: int | None = None
    """Radiographs, repeated up to this number, and images of an epoch; default: 256, on a GPU 6912."""
    size: int = 256
    """Side of the images in pixels, a multiple of 32."""
    batch_size: int = 32
    """Images of a step."""
    workers: int = 2
    """Cores that a loop may use, and its loader's workers."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Arithmetic of ours and of the careful loop; auto is bf16 where the device has it, else fp32."""
    compiled: bool = False
    """Measure DenseNet-121 in ours and in the careful loop with torch.compile as well; compiling takes minutes."""
    only: tuple[str, ...] = ()
    """Cases to measure, as transfer_learning_121; default: all."""
    loops: tuple[str, ...] = ()
    """Loops to measure: baseline, careful, ours, on a GPU ours_eager too, and with --compiled careful_compiled,
    ours_compiled and ours_compiled_eager; default: all."""

    def run(self) -> None:
        json = self.json or (self.out and self.out / "step.json")  # after each round what there is so far
        show_results(self.measure(lambda partial: write_measured(json, partial)), self.json, self.out)

    def measure(self, keep: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
        """Measure and return the object of ``--json``; ``keep`` gets it, as far as it goes, each round.

        Raises:
            InputError: for options that make no sense, CUDA without a GPU, or no PNG below ``images``.
            ContenderError: if a loop's process ends in the middle.
        """
        options = self.resolved()
        from benchmarks.common.prepare import prepare

        shape = chosen(options, "samples", "size", "batch_size", "workers")
        about, began = describe() | options.circumstances(), time.monotonic()
        found = Found()
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            folder = Path(name)
            pictures = prepare(options.images, folder, **shape)
            about |= {"radiographs": len(pictures.png), "made_up": options.images is None}
            for case in CASES:
                if (not options.only or case.name in options.only) and options.loops_of(case):
                    for _ in options.measure_case(case, folder, found):
                        keep(_document(about, found, began))
        return _document(about, found, began)

    def resolved(self) -> BenchStep:
        """These options with the device's defaults, loops by their present names; raises as ``measure`` does."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
        device: Literal["cpu", "cuda"] = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        loops = tuple(OLD_NAMES.get(name, name) for name in self.loops)
        return replace(self, loops=loops).checked(device)

    def checked(self, device: Literal["cpu", "cuda"]) -> BenchStep:
        """These options on that device; raises as ``resolved`` does."""
        steps, samples = (
            default if given is None else given
            for given, default in zip((self.steps, self.samples), DEFAULTS[device], strict=True)
        )
        options = replace(self, device=device, steps=steps, samples=samples)
        check_positive(options, "rounds", "steps", "samples", "size", "batch_size", "workers")
        if self.size % 32:
            raise InputError(f"--size {self.size}: must be a multiple of 32")
        validation = (options.validation_steps + 1) * VALIDATION_BATCHES[device]
        least = max((steps + 1) * self.batch_size, validation)
        if samples < least:
            raise InputError(
                f"--samples {samples}: must be at least {least}, for --steps and one more of --batch-size images, "
                f"and for {validation} of validation"
            )
        check_names("--only", self.only, [case.name for case in CASES], "case")
        check_names("--loops", self.loops, LOOPS, "loop")
        return options

    @property
    def validation_steps(self) -> int:
        """Batches of validation in one measurement: about as many images as in whole steps."""
        assert self.steps is not None, "called on resolved options"
        return min(self.steps, max(2, self.steps * self.batch_size // VALIDATION_BATCHES[self.device]))

    def loops_of(self, case: Case) -> list[str]:
        """The loops of a case; with torch.compile, which takes minutes to start, those of DenseNet-121 alone."""
        eager = self.device == "cuda"  # on the CPU ours has no other
        names = ["baseline", "careful", "ours", *["ours_eager"] * eager]
        if self.compiled and case.network == "densenet121":
            names += ["careful_compiled", "ours_compiled", *["ours_compiled_eager"] * eager]
        return [name for name in names if not self.loops or name in self.loops]

    def circumstances(self) -> dict[str, Any]:
        """What the object says of the measurement beside the machine."""
        import torch

        from benchmarks.step.cycles import precision_on

        return {
            "kind": "step",
            "note": NOTE + (GPU_NOTE if self.device == "cuda" else CPU_NOTE),
            "parts_note": PARTS_NOTE,
            "precision": precision_on(torch.device(self.device), self.precision),
            **chosen(self, "device", "samples", "size", "batch_size", "workers", "rounds", "steps"),
        }

    def measure_case(self, case: Case, folder: Path, found: Found) -> Iterator[None]:
        """Add all rounds of one case to ``found``; a turn after each."""
        running: dict[str, Process] = {}
        with ExitStack() as stack:
            for loop in self.loops_of(case):
                command = [sys.executable, "-m", "benchmarks.step.worker", loop, case.network, case.method]
                command += [self.device, self.precision, str(folder / "pictures.json")]
                running[loop] = Process(command, folder / f"{case.name}.{loop}.log")
                stack.callback(running[loop].end)
                if self.device == "cpu":  # together they would not fit into a small machine's memory
                    running[loop].answer(LIMIT_S)
            if self.device == "cuda":
                for process in running.values():
                    process.answer(LIMIT_S)
            if "ours" in running:
                ours = running["ours"]
                found.device = found.device or ours.ask({"what": "device"}, LIMIT_S)
                found.work[case.name] = ours.ask({"what": "work"}, LIMIT_S)
            for number in range(self.rounds):
                for loop in rotated(list(running), number % len(running)):
                    self._measure_turn(case, loop, running[loop], number, found.measured)
                yield

    def _measure_turn(self, case: Case, loop: str, process: Process, number: int, found: Measured) -> None:
        process.ask({"what": "wake"}, LIMIT_S)
        for what, call, steps in self._wanted(case, loop, number):
            made = process.ask({"what": call, "steps": steps}, LIMIT_S)
            found.setdefault((case.name, loop, what), []).append(made)
            rate = made["images"] / made["seconds"]
            said = f"round {number + 1}/{self.rounds}  {case.name:<24}{loop:<18}{what:<24}{rate:>8.2f} images/s"
            print(said, file=sys.stderr, flush=True)
        process.ask({"what": "rest"}, LIMIT_S)

    def _wanted(self, case: Case, loop: str, number: int) -> list[tuple[str, str, int]]:
        """What a loop is asked for in round ``number``: its title, its method's name, and the steps.

        Validation is a part of the first case, epochs one of DenseNet-40 by transfer learning, from memory and
        streamed in turns.
        """
        steps = self.steps or 0
        wanted = [(STEP, "loader_free", max(1, steps // 2)), (WHOLE, "whole", steps)]
        if case.validates and "compiled" not in loop:
            wanted.append((VALIDATION, "validation", self.validation_steps))
        if loop.startswith("ours"):
            wanted.append((PARTS, "parts_of_a_step", steps))
        if case == CASES[2] and loop == "ours":
            both = [(EPOCH, "epoch", 0), (STREAMED, "epoch_streamed", 0)]
            wanted += both if self.rounds == 1 else both[number % 2 :][:1]
        return wanted


def _document(about: dict[str, Any], found: Found, began: float) -> dict[str, Any]:
    """The object, of what has been measured so far."""
    measured = found.measured
    rows = [_row(key, rounds) for key, rounds in measured.items() if rounds and key[2] != PARTS]
    minutes = round((time.monotonic() - began) / 60, 1)
    document = as_json({**about, "minutes": minutes}, rows, step_ratios(measured))
    return {**document, "device_rates": found.device, "steps": step_table(measured, found.device, found.work)}


def _row(key: tuple[str, str, str], found: Sequence[dict[str, float]]) -> Row:
    case, loop, what = key
    peak = max(one["peak_bytes"] for one in found) / 2**30
    waits = f", waits for data {share(found, 'data_wait_s'):.2%}" if "data_wait_s" in found[0] else ""
    title = f"{LOOPS[loop]} (peak {peak:.1f} GiB{waits})"
    return Row.of(Contender(f"{case} {loop} {what}", title, f"{case}, {what}", ""), rates(found))
