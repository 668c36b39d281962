"""The section and the figure of loaders against workers, image size, batch size, and with a cold cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page.sections import again, circumstances, table
from datasets.files import replacing

AXES = {"workers": "workers and cores", "size": "side of the images, px", "batch_size": "images of a batch"}
FIXED = {"workers": "{} workers", "size": "{0} x {0} px", "batch_size": "batches of {}"}
LEAST_SHARE = 0.8
"""Of the disk's sequential rate, asked of our pages in random order."""
LINES = ("o-", "s--", "^-.", "x:")
GRAYS = ("black", "0.25", "0.45", "0.55")
HATCHES = ("", "////")
BEHIND_LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
"""So that the disk's rate does not strike a figure out."""

Measured = Mapping[str, Any]


def scaling_section(measured: Measured) -> str:
    """Circumstances, one table of the points, and one of the disk."""
    environment = measured["environment"]
    what = (
        f"{environment['samples']:,} samples of {environment['radiographs']:,} "
        f"{'made-up ' * environment['made_up']}radiographs; {environment['beton_bytes'] / 1e6:,.0f} MB of raw pages"
    )
    titles = [f">{_label(row)}" for row in measured["points"][0]["rows"]]
    header = " | ".join([">workers", ">px", ">batch", *titles])
    points = [
        " | ".join([*(str(point[axis]) for axis in AXES), *map(_cell, point["rows"])]) for point in measured["points"]
    ]
    cold = " | ".join(
        [
            "reader",
            ">from the disk",
            ">from the cache",
            ">disk, MB/s",
            ">of the disk, %",
            ">of what is possible, %",
            "",
        ]
    )
    parts = ["## Scaling", circumstances(environment), f"What: {what}. {environment['note']}"]
    parts += ["### Images/s, median (interquartile range)", table(header, points), again(environment)]
    parts += [
        "### From the disk, images/s",
        *_disk(measured["cold"]),
        table(cold, map(_cold_cells, measured["cold"])),
        again(environment),
    ]
    return "\n\n".join(parts)


def _label(row: Measured) -> str:
    return f"{row['title']}, {row['output'].partition(',')[0].partition(' ')[0]}"


def _cell(row: Measured) -> str:
    return "absent" if row["images_per_s"] is None else f"{row['images_per_s']:,.0f} ({row['spread']:,.0f})"


def _cold_cells(row: Measured) -> str:
    rates = f"{row['images_per_s']:,.0f} ({row['spread']:,.0f}) | {row['warm_images_per_s']:,.0f}"
    shares = f"{row['disk_mb_per_s']:,.0f} | {100 * row['share_of_disk']:.0f} | {100 * row['share_of_reachable']:.0f}"
    return f"{_label(row)} | {rates} | {shares} | {verdict(row)}"


def _disk(rows: Sequence[Measured]) -> list[str]:
    by = ", ".join(dict.fromkeys(row["disk_by"] for row in rows))
    return [
        "In place of files that are larger than the memory of a cgroup, for which few machines hand out the memory "
        "controller, files of any size are dropped from the system's cache before each epoch, so that every page "
        f"comes from the disk as it does there. The sequential rate was read by {by}. Asked of our pages: "
        f"{100 * LEAST_SHARE:.0f} % of it. What is possible is the smaller one of this and the reader's own rate "
        "from the cache."
    ]


def verdict(row: Measured) -> str:
    """Whether a row of ours reaches its share of the disk's rate, and if not, what limits it; nothing of peers."""
    if not row["ours"]:
        return ""
    if row["read_share"] < LEAST_SHARE:
        return "not from a disk: the files stayed in memory"
    if row["share_of_disk"] >= LEAST_SHARE:
        return "reached"
    if row["share_of_reachable"] >= LEAST_SHARE:
        return "the processor limits it, not the disk"
    return "missed"


def draw_scaling(measured: Measured, path: Path) -> None:
    """Write the figure: a panel for each axis, and one of bars from the cache and from the disk."""
    from matplotlib.figure import Figure

    environment, points = measured["environment"], measured["points"]
    figure = Figure(figsize=(9.5, 7.0), layout="constrained")
    axes: Any = figure.subplots(2, 2)
    for panel, axis in zip(axes.flat, AXES, strict=False):
        _lines(panel, points, axis)
    _bars(axes.flat[-1], measured["cold"])
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    cpu, cores, commit = (environment[name] for name in ("cpu", "cores", "commit"))
    figure.suptitle(f"{cpu}, {cores} cores, commit {commit}", fontsize=8)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def _lines(panel: Any, points: Sequence[Measured], axis: str) -> None:
    """A line for each loader over the points that differ from the first one in ``axis`` alone."""
    base, others = points[0], [name for name in AXES if name != axis]
    shown = sorted(
        (point for point in points if all(point[name] == base[name] for name in others)), key=lambda one: one[axis]
    )
    places = [point[axis] for point in shown]
    for number, row in enumerate(base["rows"]):
        rows = [point["rows"][number] for point in shown]
        panel.errorbar(
            places,
            [float("nan") if one["images_per_s"] is None else one["images_per_s"] for one in rows],
            yerr=[(one["spread"] or 0.0) / 2 for one in rows],
            fmt=LINES[number % len(LINES)],
            color=GRAYS[number % len(GRAYS)],
            label=_label(row),
            capsize=2,
            markersize=5,
        )
    panel.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="images/s")
    panel.set_xticks(places, labels=[str(value) for value in places])
    panel.set_xticks([], minor=True)
    panel.grid(alpha=0.3, which="both")
    panel.set_title(", ".join(FIXED[name].format(base[name]) for name in others), fontsize=8, loc="left")


def _bars(panel: Any, rows: Sequence[Measured]) -> None:
    """From the cache and from the disk, side by side, with the disk's sequential rate across."""
    for offset, name, hatch, text in zip(
        (-0.2, 0.2), ("warm_images_per_s", "images_per_s"), HATCHES, ("from the cache", "from the disk"), strict=True
    ):
        places = [number + offset for number in range(len(rows))]
        rates = [row[name] for row in rows]
        bars = panel.bar(places, rates, 0.38, hatch=hatch, facecolor="0.85", edgecolor="black", label=text)
        panel.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], fontsize=6.5, padding=1, bbox=BEHIND_LABEL)
    for number, row in enumerate(rows):
        label = "the disk's sequential rate" if number == 0 else None
        panel.hlines(row["disk_images_per_s"], number - 0.42, number + 0.42, color="black", ls="--", label=label)
    labels = [_label(row).replace(", ", ",\n") for row in rows]
    panel.set_xticks(range(len(rows)), labels=labels, fontsize=7)
    panel.set(yscale="log", ylabel="images/s")
    panel.set_title("one epoch in random order", fontsize=8, loc="left")
    panel.margins(y=0.25)
    panel.legend(fontsize=7)
