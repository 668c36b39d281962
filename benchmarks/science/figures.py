"""Draw AUROC against training size, and against beta, of the science checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.science.scores import Point, Score
from launch.report.figures.drawing import label_axes, panels, save, series_styles
from launch.report.statistics.intervals import summarise

NAMES = {
    "transfer_learning": "Transfer learning",
    "in_domain": "Attention transfer, in-domain teacher",
    "unrelated": "Attention transfer, unrelated teacher",
}
SWEEPS = {
    ("in_domain", "divide"): "In-domain teacher, weight 1/beta",
    ("in_domain", "multiply"): "In-domain teacher, weight beta",
    ("unrelated", "divide"): "Unrelated teacher, weight 1/beta",
}


def draw_sizes(scores: Sequence[Score], path: Path) -> None:
    """Mean and interval of the test AUROC against the number of training images."""
    styles = series_styles(list(NAMES.values()))
    figure, [[axes]] = panels(1, 1, [style.sample(text) for text, style in styles.items()])
    for place, (method, text) in enumerate(NAMES.items()):
        sizes = sorted({score.train_images for score in scores if score.method == method})
        summaries = [
            summarise(one.test for one in scores if one.method == method and one.train_images == size)
            for size in sizes
        ]
        found = [(size, summary) for size, summary in zip(sizes, summaries, strict=True) if summary is not None]
        axes.errorbar(
            [size * (1 + 0.03 * (place - 1)) for size, _ in found],  # side by side, so that no bar hides another
            [summary.mean for _, summary in found],
            yerr=[summary.normal_half or 0.0 for _, summary in found],
            color=styles[text].colour,
            marker=styles[text].marker,
            capsize=3,
        )
    _log_axis(axes, sorted({score.train_images for score in scores}))
    label_axes(
        axes,
        title="DenseNet-40 on made-up radiographs, mean of the seeds",
        x="Training images (log scale)",
        y="Test AUROC (points) ± 1.96 s / sqrt(n)",
    )
    save(figure, path)


def draw_sweep(points: Sequence[Point], scores: Sequence[Score], path: Path) -> None:
    """Validation AUROC against beta by teacher and role, one seed, beside transfer learning of the same size."""
    base = "Transfer learning, without a beta"
    styles = series_styles([base, *SWEEPS.values()])
    figure, [[axes]] = panels(1, 1, [style.sample(text) for text, style in styles.items()])
    for (teacher, role), text in SWEEPS.items():
        line = sorted(
            (point.beta, point.validation) for point in points if (point.teacher, point.role) == (teacher, role)
        )
        axes.plot([x for x, _ in line], [y for _, y in line], color=styles[text].colour, marker=styles[text].marker)
    smallest = min((score.train_images for score in scores), default=0)
    plain = [
        score.validation
        for score in scores
        if (score.method, score.train_images, score.seed) == ("transfer_learning", smallest, 0)
    ]
    if plain:
        axes.axhline(plain[0], color=styles[base].colour, linestyle="--")
    _log_axis(axes, sorted({point.beta for point in points}))
    label_axes(
        axes,
        title=f"DenseNet-40, {smallest} training images, seed 0",
        x="Beta (log scale)",
        y="Validation AUROC (points)",
    )
    save(figure, path)


def _log_axis(axes: Any, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
