"""Measure one loop of the step benchmark for each line on standard input.

Run as ``python -m benchmarks.step.worker LOOP NETWORK METHOD DEVICE PICTURES.json``. Between its turns it gives
memory back: five loops together do not fit into a small machine, and a loop that is measured while others are pushed
out of memory is not measured at all.
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
from datasets.malloc import return_freed_memory

LOOP_CLASSES = {
    "baseline": "benchmarks.step.baseline:Baseline",
    "careful": "benchmarks.step.careful:Careful",
    "ours": "benchmarks.step.ours:Ours",
}
"""Imported when asked for, so that a loop's process holds its own libraries alone."""


def set_up(pictures: Pictures) -> Callable[[Any], Any]:
    """Warm up; return what measures ``{"what": ..., "steps": ...}``.

    ``wake`` stands before the measurements of a turn and makes one step, ``rest`` behind them.
    """
    loop, network, method, name = sys.argv[1:5]
    case, device = Case(network, method), torch.device(name)
    torch.set_num_threads(pictures.workers)
    options = {"compiled": True} if loop.endswith("_compiled") else {}
    contender = pkgutil.resolve_name(LOOP_CLASSES[loop.removesuffix("_compiled")])(case, pictures, device, **options)
    contender.loader_free(1)
    if case.validates and device.type == "cuda" and not loop.endswith("_compiled"):
        contender.validation(1)  # there, ours compiles the input of validation when it is first asked for
    return_freed_memory()

    def answer(asked: Any) -> Any:
        found: dict[str, float] = {}
        if asked["what"] == "rest":
            return_freed_memory()
        elif asked["what"] == "wake":
            contender.loader_free(1)
        else:
            found = getattr(contender, asked["what"])(asked["steps"])
        return {**found, "peak_bytes": peak_bytes(device)}

    return answer


if __name__ == "__main__":
    answer_questions(Path(sys.argv[5]), set_up)
