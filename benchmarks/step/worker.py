"""Measure one loop of the step benchmark for each line on standard input.

Run as ``python -m benchmarks.step.worker KIND NETWORK METHOD PICTURES.json DEVICE``. Between its turns it gives
memory back: five loops together do not fit into a small machine, and a loop that is measured while others are pushed
out of memory is not measured at all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.pictures import Pictures
from benchmarks.step.case import Case
from benchmarks.step.device import peak_bytes
from datasets.malloc import return_freed_memory


def main() -> None:
    """Set up, warm up and answer ``ready``; then one object for each line ``{"what": ..., "steps": ...}``.

    ``wake`` stands before the measurements of a turn and makes one step, ``rest`` behind them.
    """
    kind, network, method, path, name = sys.argv[1:6]
    device = torch.device(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pictures = Pictures.read(Path(path))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: pictures.workers])
    torch.set_num_threads(pictures.workers)
    case = Case(network, method)  # type: ignore[arg-type]
    contender = make(kind, case, pictures, device)
    contender.loader_free(1)
    if case.validates and device.type == "cuda" and not kind.endswith("_compiled"):
        contender.validation(1)  # there, ours compiles the input of validation when it is first asked for
    return_freed_memory()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["what"] == "rest":
            return_freed_memory()
            found = {}
        else:
            wake = asked["what"] == "wake"
            found = contender.loader_free(1) if wake else getattr(contender, asked["what"])(asked["steps"])
        found["peak_bytes"] = peak_bytes(device)
        print(json.dumps(found), file=answers, flush=True)


def make(kind: str, case: Case, pictures: Pictures, device: torch.device) -> Any:
    """The contender of that kind; only its own libraries are imported."""
    compiled = kind.endswith("_compiled")
    if kind == "reference":
        from benchmarks.step.baseline import Baseline

        return Baseline(case, pictures, device)
    if kind.startswith("careful"):
        from benchmarks.step.careful import Careful

        return Careful(case, pictures, device, compiled=compiled)
    from benchmarks.step.ours import Ours

    return Ours(case, pictures, device, compiled=compiled)


if __name__ == "__main__":
    main()
