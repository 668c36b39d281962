"""Draw a benchmark as a bar chart, ours hatched, so that it is read without colour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.files import replacing

OURS = {"facecolor": "#9fcbd9", "edgecolor": "black", "hatch": "////"}
PEER = {"facecolor": "#d0d0d0", "edgecolor": "black"}
BAR_INCHES = 0.27


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Write the chart: one bar a contender on a logarithmic axis, with its interquartile range, grouped by output."""
    from matplotlib.figure import Figure

    rows = [row for row in measured["rows"] if row["images_per_s"] is not None]
    rates = [row["images_per_s"] for row in rows]
    outputs = list(dict.fromkeys(row["output"] for row in rows))
    rows.sort(key=lambda row: row["images_per_s"])
    groups = [[row for row in rows if row["output"] == output] for output in outputs]
    figure = Figure(figsize=(9.5, 1.2 + BAR_INCHES * len(rows) + 0.45 * len(groups)), layout="constrained")
    heights = [len(group) for group in groups]
    axes: Any = (
        figure.subplots(len(groups), sharex=True, squeeze=False, height_ratios=heights)[:, 0] if groups else []
    )
    for axis, output, group in zip(axes, outputs, groups, strict=False):
        _bars(axis, output, group, min(rates), max(rates))
    if len(axes):
        axes[-1].set_xlabel("images per second (median, interquartile range)")
    environment = measured["environment"]
    figure.suptitle(
        f"{environment['cpu']}, {environment['cores']} cores, {environment['workers']} workers, "
        f"commit {environment['commit']}",
        fontsize=8,
    )
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def _bars(axis: Any, output: str, group: list[dict[str, Any]], lowest: float, highest: float) -> None:
    rates = [row["images_per_s"] for row in group]
    bars = axis.barh(
        [row["title"] for row in group],
        rates,
        xerr=[row["spread"] / 2 for row in group],
        height=0.75,
        linewidth=0.6,
        error_kw={"linewidth": 0.8},
    )
    for bar, row in zip(bars, group, strict=True):
        bar.set(**(OURS if row["ours"] else PEER))
    axis.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=3, fontsize=7)
    axis.set_xscale("log")
    axis.set_title(output, fontsize=9, loc="left")
    axis.tick_params(labelsize=7)
    for label, row in zip(axis.get_yticklabels(), group, strict=True):
        label.set_fontweight("bold" if row["ours"] else "normal")
    axis.set_ylim(-0.6, len(group) - 0.4)
    axis.set_xlim(10 ** math.floor(math.log10(lowest)), 3 * highest)
    axis.spines[["top", "right"]].set_visible(False)
