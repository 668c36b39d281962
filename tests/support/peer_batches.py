"""Run loaders of the benchmark one after another, as ``benchmarks.common.worker`` does each in its own process.

``peer_batches.py PICTURES.json OUT.npz NAME...`` keeps an image of a batch of each, and prints by name the images/s
of a second, or why there is none.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.contenders import LOADERS
from benchmarks.common.pictures import Pictures
from benchmarks.common.timing import EPOCH_STARTS

SECONDS = 1.0


def image_and_rate(name: str, pictures: Pictures) -> tuple[np.ndarray, float]:
    """An image of the last batch of a second that begins with the first one; epochs begin and end in it."""
    contender = next(one for one in LOADERS if one.name == name)
    if contender.centred:
        pictures = replace(pictures, angles=(0.0, 0.0))
    module = importlib.import_module(f"benchmarks.peers.{contender.peer}")
    batches: Any = module.batches(pictures, **contender.options)
    batch = next(batches)
    images, started = 0, time.perf_counter()
    while images == 0 or batch is EPOCH_STARTS or time.perf_counter() < started + SECONDS:
        batch = next(batches)
        images += 0 if batch is EPOCH_STARTS else len(batch)
    return np.asarray(batch)[-1].copy(), images / (time.perf_counter() - started)


def main() -> None:
    pictures, out, names = Pictures.read(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]
    images, said = {}, {}
    for name in names:
        try:
            images[name], said[name] = image_and_rate(name, pictures)
        except Exception as error:  # noqa: BLE001
            said[name] = f"{type(error).__name__}: {error}"
    np.savez(out, **images)
    print(json.dumps(said), flush=True)
    os._exit(0)  # the threads of some loaders would never end


if __name__ == "__main__":
    main()
