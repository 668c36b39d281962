"""The section of how many GPUs a machine's loader can feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.page.sections import again, circumstances, table


def verdict_section(measured: Mapping[str, Any]) -> str:
    """The verdict in words, and the GPUs by network and method."""
    environment = measured["environment"]
    rows = [
        f"{row['title']} | {row['images_per_s']:,.0f} | {row['rate_is']} | "
        + " | ".join(f"{row[name]:,.1f}" for name in measured["rates"])
        for row in measured["rows"]
    ]
    header = "one GPU trains | >images/s | | >GPUs fed from memory | >from the disk | >with float32 batches"
    card = f"GPUs are as {measured['rows'][0]['card']}."
    parts = ["## What this machine can feed", circumstances(environment), measured["verdict"], card]
    quick = environment["command"].replace("bench scaling", "bench all --quick")
    return "\n\n".join([*parts, table(header, rows), again({"command": quick})])
