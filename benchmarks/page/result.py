"""The section of times from images to a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.page.sections import again, circumstances, table

PARTS = {
    "seconds": "epoch, s",
    "data_s": "waiting for data",
    "step_s": "steps",
    "validation_s": "validation",
    "checkpoint_s": "checkpoint",
    "other_s": "scores and rest",
}


def result_section(measured: Mapping[str, Any]) -> str:
    """Circumstances, seconds to the first step, and seconds of epochs with their parts."""
    environment = measured["environment"]
    size, made_up = environment["size"], "made-up " * environment["made_up"]
    what = (
        f"DenseNet-121 by transfer learning on {made_up}radiographs of {size} x {size}, batches of "
        f"{environment['batch_size']}, {environment['validation']:,} validation images, on "
        f"{environment['gpu'] if environment['device'] == 'cuda' else 'the CPU'}."
    )
    starts = [
        f"{row['title']} | {row['seconds']:.2f} | {row['spread']:.2f} | {row['rounds']}"
        for row in measured["first_step"]
    ]
    epochs = []
    for row in measured["epochs"]:
        cells = (f"{row[name]:.2f}" if name in row else "" for name in PARTS)
        epochs.append(" | ".join([f"{row['images']:,}", row["title"], *cells]))
    header = " | ".join([">training images", "loop", *(f">{title}" for title in PARTS.values())])
    parts = ["## From image to result", circumstances(environment), f"{what} {environment['note']}"]
    parts += ["### Seconds to the first step", table("loop | >median | >spread (IQR) | >rounds", starts)]
    return "\n\n".join([*parts, "### Seconds of an epoch", table(header, epochs), again(environment)])
