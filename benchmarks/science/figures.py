"""Draw AUROC against training size, and against beta, of the science checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.science.runs import EPOCHS, SEARCH_SIZE, SWEEPS, TITLES
from benchmarks.science.scores import Scores
from launch.report.figures.drawing import label_axes, legend_lines, panels, save, series_styles


def draw_sizes(scores: Scores, path: Path) -> None:
    """Mean and interval of the test AUROC against the number of training images."""
    styles = series_styles([text.capitalize() for text in TITLES.values()])
    figure, [[axes]] = panels(1, 1, legend_lines(styles))
    for place, (method, style) in enumerate(zip(TITLES, styles.values(), strict=True)):
        found = [(size, summary) for size in EPOCHS if (summary := scores.summary(method, size)) is not None]
        axes.errorbar(
            [size * (1 + 0.03 * (place - 1)) for size, _ in found],  # side by side, so that no bar hides another
            [summary.mean for _, summary in found],
            yerr=[summary.normal_half or 0.0 for _, summary in found],
            color=style.colour,
            marker=style.marker,
            capsize=3,
        )
    _log_axis(axes, sorted({score["train_images"] for score in scores.students}))
    label_axes(
        axes,
        title="DenseNet-40 on made-up radiographs, mean of the seeds",
        x="Training images (log scale)",
        y="Test AUROC (points) ± 1.96 s / sqrt(n)",
    )
    save(figure, path)


def draw_sweep(scores: Scores, path: Path) -> None:
    """Validation AUROC against beta by teacher and role, one seed, beside transfer learning of the same size."""
    base = "Transfer learning, without a beta"
    styles = series_styles([base, *map(sweep_title, SWEEPS)])
    figure, [[axes]] = panels(1, 1, legend_lines(styles))
    for sweep in SWEEPS:
        found = [point for point in scores.sweep if (point["teacher"], point["role"]) == sweep]
        line = sorted((point["beta"], point["validation"]) for point in found)
        style = styles[sweep_title(sweep)]
        axes.plot([x for x, _ in line], [y for _, y in line], color=style.colour, marker=style.marker)
    for score in scores.students:
        if (score["method"], score["train_images"], score["seed"]) == ("transfer_learning", SEARCH_SIZE, 0):
            axes.axhline(score["validation"], color=styles[base].colour, linestyle="--")
    _log_axis(axes, sorted({point["beta"] for point in scores.sweep}))
    label_axes(
        axes,
        title=f"DenseNet-40, {SEARCH_SIZE} training images, seed 0",
        x="Beta (log scale)",
        y="Validation AUROC (points)",
    )
    save(figure, path)


def sweep_title(sweep: tuple[str, str]) -> str:
    """``In-domain teacher, weight 1/beta``."""
    teacher, role = sweep
    return f"{teacher.replace('_', '-').capitalize()} teacher, weight {'1/beta' if role == 'divide' else 'beta'}"


def _log_axis(axes: Any, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
