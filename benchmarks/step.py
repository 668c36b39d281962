"""A folder of radiographs and settings come in; training steps of ours, a plain and a careful loop go out."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT, environment
from benchmarks.environment import command_line, describe
from benchmarks.prepare import prepare
from benchmarks.results import Row, as_json, make_row
from benchmarks.step_case import CASES, Case, Kind
from datasets.errors import InputError

NOTE = (
    "Each loop has a process of its own and the same cores; processes wait while it is not their turn. Every process "
    "makes one step before anything is measured. The plain loop reads the original PNG files, the careful one JPEG "
    "files of the final size, ours its beton. Networks have random weights."
)
TITLES: dict[Kind, str] = {
    "reference": "plain loop, float32, Pillow",
    "careful": "careful loop, bfloat16, OpenCV",
    "ours": "ours, bfloat16",
    "careful_compiled": "careful loop with torch.compile",
    "ours_compiled": "ours with torch.compile",
}
STEP, WHOLE, VALIDATION = "loader-free step", "whole step", "validation"
LIMIT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and for how long."""

    rounds: int = 5
    steps: int = 2
    """Timed steps of a round."""
    samples: int = 256
    size: int = 256
    batch_size: int = 32
    workers: int = 2
    compiled: bool = False
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.rounds, self.steps, self.samples, self.size, self.batch_size, self.workers) <= 0:
            raise InputError("--rounds, --steps, --samples, --size, --batch-size and --workers must be above 0")
        if self.size % 32:
            raise InputError(f"--size {self.size}: must be a multiple of 32")
        if self.samples < self.steps * self.batch_size:
            raise InputError(f"--samples {self.samples}: must be at least --steps times --batch-size")
        known = [case.name for case in CASES]
        unknown = [name for name in self.only if name not in known]
        if unknown:
            raise InputError(f"--only {unknown[0]}: no such case; known: {', '.join(known)}")

    @property
    def kinds(self) -> list[Kind]:
        return list(TITLES)[: 5 if self.compiled else 3]


class Process:
    """A loop's process, asked for one measurement at a time."""

    def __init__(self, kind: Kind, case: Case, pictures: Path, log: Path) -> None:
        self.kind, self._log = kind, log
        arguments = [sys.executable, "-m", "benchmarks.step_worker", kind, case.network, case.method, str(pictures)]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def answer(self) -> Any:
        """What it says next.

        Raises:
            RuntimeError: when it ends or takes too long.
        """
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], LIMIT_S)
        line = output.readline() if ready else ""
        if not line:
            said = " / ".join(self._log.read_text(errors="replace").strip().splitlines()[-6:])
            raise RuntimeError(f"{self.kind} {'ended' if ready else 'did not answer'}: {said or 'it said nothing'}")
        return json.loads(line)

    def measure(self, what: str, steps: int) -> dict[str, float]:
        """One measurement of that many steps."""
        assert self._process.stdin is not None
        print(json.dumps({"what": what, "steps": steps}), file=self._process.stdin, flush=True)
        found: dict[str, float] = self.answer()
        return found


Measured = dict[tuple[str, Kind, str], list[dict[str, float]]]
"""Measurements of every round by case, loop and what was measured."""


def bench_step(images: Path | None, settings: Settings) -> dict[str, Any]:
    """Measure and return the object of ``cxr bench step --json``.

    Raises:
        InputError: if there is no PNG below ``images``.
        RuntimeError: if a loop's process ends in the middle.
    """
    about = describe(command_line())
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
        for case in CASES:
            if not settings.only or case.name in settings.only:
                measured |= measure_case(case, folder, settings)
    about |= {
        "kind": "step",
        "note": NOTE,
        "radiographs": len(pictures.png),
        "made_up": images is None,
        "samples": settings.samples,
        "size": settings.size,
        "batch_size": settings.batch_size,
        "workers": settings.workers,
        "rounds": settings.rounds,
        "steps": settings.steps,
        "load_average_after": round(os.getloadavg()[0], 2),
    }
    return as_json(about, [_row(key, found) for key, found in measured.items()], step_ratios(measured))


def measure_case(case: Case, folder: Path, settings: Settings) -> Measured:
    """All rounds of one case; validation is a part of the first case alone."""
    whats = {STEP: "loader_free", WHOLE: "whole"}
    if case == CASES[0]:
        whats[VALIDATION] = "validation"
    found: Measured = {(case.name, kind, what): [] for what in whats for kind in settings.kinds}
    with ExitStack() as stack:
        running = []
        for kind in settings.kinds:
            log = folder / f"{case.name}.{kind}.log"
            running.append(stack.enter_context(Process(kind, case, folder / "pictures.json", log)))
            running[-1].answer()
        for number in range(settings.rounds):
            first = number % len(running)
            for process in [*running[first:], *running[:first]]:
                for what, call in whats.items():
                    made = process.measure(call, settings.steps)
                    found[case.name, process.kind, what].append(made)
                    rate = made["images"] / made["seconds"]
                    print(
                        f"round {number + 1}/{settings.rounds}  {case.name:<24}{process.kind:<18}{what:<18}"
                        f"{rate:>8.2f} images/s",
                        file=sys.stderr,
                        flush=True,
                    )
    return found


def step_ratios(measured: Measured) -> dict[str, float | None]:
    """The ratios of the benchmark; None for what was not measured. Rates are of whole steps, medians over rounds."""
    one, forty = CASES[0].name, CASES[2].name
    transfer = CASES[1].name
    found: dict[str, float | None] = {
        case.name: _over(measured, case.name, WHOLE, "ours", "reference") for case in CASES
    }
    for name in (transfer, one):
        found[f"{name}_over_careful"] = _over(measured, name, WHOLE, "ours", "careful")
    found["validation"] = _over(measured, one, VALIDATION, "ours", "reference")
    found["validation_over_careful"] = _over(measured, one, VALIDATION, "ours", "careful")
    found["peak_memory_attention_transfer_121"] = _peak_ratio(measured, transfer)
    found["data_wait_share"] = _share(measured.get((forty, "ours", WHOLE), ()), "data_wait_s")
    found["overhead_share"] = _share(measured.get((one, "ours", STEP), ()), "overhead_s")
    for name in (transfer, one):
        found[f"{name}_loader_free"] = _over(measured, name, STEP, "ours", "reference")
        found[f"{name}_loader_free_over_careful"] = _over(measured, name, STEP, "ours", "careful")
        found[f"{name}_compiled"] = _over(measured, name, WHOLE, "ours_compiled", "reference")
        found[f"{name}_compiled_over_careful"] = _over(measured, name, WHOLE, "ours_compiled", "careful")
        found[f"{name}_both_compiled"] = _over(measured, name, WHOLE, "ours_compiled", "careful_compiled")
    return found


def _over(measured: Measured, case: str, what: str, ours: Kind, other: Kind) -> float | None:
    above, below = (_rates(measured.get((case, kind, what), ())) for kind in (ours, other))
    return statistics.median(above) / statistics.median(below) if above and below else None


def _peak_ratio(measured: Measured, case: str) -> float | None:
    above, below = (
        max((found["peak_bytes"] for found in measured.get((case, kind, STEP), ())), default=0.0)
        for kind in ("ours", "reference")
    )
    return above / below if above and below else None


def _share(found: Sequence[Mapping[str, float]], key: str) -> float | None:
    return statistics.median(one[key] / one["seconds"] for one in found) if found else None


def _rates(found: Sequence[Mapping[str, float]]) -> list[float]:
    return [one["images"] / one["seconds"] for one in found]


def _row(key: tuple[str, Kind, str], found: Sequence[Mapping[str, float]]) -> Row:
    case, kind, what = key
    title = TITLES[kind]
    peak = max(one["peak_bytes"] for one in found) / 2**30
    waits = f", waits for data {_share(found, 'data_wait_s'):.2%}" if what == WHOLE else ""
    title = f"{title} (peak {peak:.1f} GiB{waits})"
    name = f"{case} {kind} {what}"
    return make_row(name, title, f"{case}, {what}", ours=kind.startswith("ours"), values=_rates(found))
