"""Measure one loop of the step benchmark for each line on standard input.

Run as ``python -m benchmarks.step.worker LOOP NETWORK METHOD DEVICE PRECISION PICTURES.json``. Between its turns it
gives memory back: five loops together do not fit into a small machine, and a loop that is measured while others are
pushed out of memory is not measured at all.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.pictures import Pictures
from benchmarks.common.process import answer_questions
from benchmarks.step.case import Case
from benchmarks.step.cycles import peak_bytes
from benchmarks.step.device import device_rates
from datasets.malloc import return_freed_memory

LOOP_CLASSES = {
    "baseline": "benchmarks.step.baseline:Baseline",
    "careful": "benchmarks.step.careful:Careful",
    "ours": "benchmarks.step.ours:Ours",
}
"""Imported when asked for, so that a loop's process holds its own libraries alone."""


def set_up(pictures: Pictures) -> Callable[[Any], Any]:
    """Warm up; return what measures ``{"what": ..., "steps": ...}``.

    ``device`` and ``work`` are asked of ours alone. ``wake`` stands before the measurements of a turn and makes one
    step, ``rest`` behind them.
    """
    loop, network, method, name, precision = sys.argv[1:6]
    case, device = Case(network, method), torch.device(name)
    torch.set_num_threads(pictures.workers)
    kind, *variant = loop.split("_")
    options: dict[str, Any] = (
        {} if kind == "baseline" else {"precision": precision, "compiled": "compiled" in variant}
    )
    if kind == "ours":
        options["cuda_graphs"] = "eager" not in variant
    contender = pkgutil.resolve_name(LOOP_CLASSES[kind])(case, pictures, device, **options)
    contender.loader_free(1)
    if case.validates and device.type == "cuda" and "compiled" not in variant:
        contender.validation(1)  # there, ours compiles the input of validation when it is first asked for
    return_freed_memory()

    def answer(asked: Any) -> Any:
        found: dict[str, float] = {}
        if asked["what"] == "rest":
            return_freed_memory()
        elif asked["what"] == "wake":
            contender.loader_free(1)
        elif asked["what"] == "device":
            found = device_rates(device)
        elif asked["what"] == "work":
            found = contender.work()
        else:
            found = {**getattr(contender, asked["what"])(asked["steps"]), "steps": asked["steps"]}
        return {**found, "peak_bytes": peak_bytes(device)}

    return answer


if __name__ == "__main__":
    answer_questions(Path(sys.argv[6]), set_up)
