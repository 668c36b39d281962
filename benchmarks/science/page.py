"""Write the science checks' scores as JSON and figures, and show the JSON as a section of the results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.page.sections import again, table
from benchmarks.science.data import PATIENTS, PATTERNS, SIZE
from benchmarks.science.runs import (
    BATCH_SIZE,
    EPOCHS,
    LEARNING_RATE,
    METHODS,
    SEARCH_SIZE,
    SEEDS,
    SWEEPS,
    TITLES,
)
from benchmarks.science.scores import Score, Scores, differences
from datasets.files import write_json
from launch.report.figures.drawing import label_axes, legend_lines, panels, save, series_styles


def write_results(scores: Scores, environment: Mapping[str, Any], folder: Path) -> None:
    """Write science.json, science-sizes.png and science-beta.png."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"environment": dict(environment), "complete": scores.complete, **asdict(scores)}
    write_json(folder / "science.json", {**document, "differences": differences(scores)})
    draw_sizes(scores, folder / "science-sizes.png")
    draw_sweep(scores, folder / "science-beta.png")


def science_section(measured: Mapping[str, Any]) -> str:
    """The section, from science.json: what was run, what came out, and what it says."""
    environment, compared = measured["environment"], measured["differences"]
    scores = Scores(**{name: measured[name] for name in ("students", "sweep", "teachers")})
    parts = ["## Science checks on made-up images", _circumstances(environment), _design(scores)]
    if not scores.complete:
        parts.append("**Not all runs are done; what follows is from those that are.**")
    parts += ["### Test AUROC against training size", _sizes(scores), again(environment)]
    parts += ["![test AUROC against training size](science-sizes.png)", _verdicts(compared)]
    parts += [
        "### Beta",
        _sweep(scores.sweep),
        again(environment),
        "![validation AUROC against beta](science-beta.png)",
    ]
    return "\n\n".join(parts)


def _circumstances(environment: Mapping[str, Any]) -> str:
    return (
        f"Written by `{environment['command']}` at commit {environment['commit']}, {environment['date']}, on "
        f"{environment['cpu']}, {environment['threads']} thread(s). The images are drawn by formulas: the figures "
        "show how the method behaves in this harness, and are no result about radiographs."
    )


def _design(scores: Scores) -> str:
    sizes = ", ".join(f"{size:,} ({epochs} epochs)" for size, epochs in EPOCHS.items())
    lines = [
        f"- images: {SIZE}x{SIZE}; students train on `cxr phantom` in CheXpert's layout ({PATIENTS['chexpert']:,} "
        f"patients), training images {sizes}; {len(SEEDS)} seeds; split and subsets are the same for all",
        f"- students: DenseNet-40, all layers, started from DenseNet-40 trained on {PATIENTS['chestxray14']:,} "
        f"phantom patients in ChestX-ray14's layout; Adam, {LEARNING_RATE:g} halved after each third of the epochs, "
        f"batches of {BATCH_SIZE}, bfloat16; the best epoch by validation AUROC is tested",
        f"- in-domain teacher: DenseNet-121 on {PATIENTS['mimic_cxr']:,} phantom patients in MIMIC-CXR's layout"
        + _scored(scores.teachers.get("in_domain")),
        f"- unrelated teacher: DenseNet-121 on {PATTERNS:,} images of gratings in noise, whose labels say which of "
        "14 gratings are there: other images and another task" + _scored(scores.teachers.get("unrelated")),
        f"- beta: for each teacher the best on validation with {SEARCH_SIZE} training images and seed 0, where the "
        "attention loss has the weight 1/beta; used for every size",
    ]
    return "\n".join(lines)


def _scored(test: float | None) -> str:
    return "" if test is None else f"; test AUROC {test:.1f} on images of its own kind"


def _plus_minus(half: float | None) -> str:
    return "" if half is None else f" ± {half:.2f}"


def _sizes(scores: Scores) -> str:
    rows = []
    for size in EPOCHS:
        found = [scores.summary(method, size) for method in METHODS]
        cells = ["" if one is None else f"{one.mean:.2f}{_plus_minus(one.normal_half)}" for one in found]
        rows.append(" | ".join([f"{size:,}", *cells]))
    chosen = {score["method"]: score["beta"] for score in scores.students if score["beta"] is not None}
    betas = "; ".join(f"{TITLES[method]}: {beta:g}" for method, beta in chosen.items())
    shown = table(" | ".join(f">{title}" for title in ("training images", *TITLES.values())), rows)
    return f"{shown}\n\nPoints, mean ± 1.96 s / sqrt(n) over seeds. Beta chosen: {betas or 'none yet'}."


def _verdicts(compared: Sequence[Mapping[str, Any]]) -> str:
    lines = ["Attention transfer minus transfer learning, seed by seed, with Student's 95 % interval:", ""]
    for row in compared:
        shown = f"{row['mean']:+.2f} points{_plus_minus(row['t_half'])}"
        lines.append(f"- {TITLES[row['method']]}, {row['train_images']:,} images: {shown}: {_verdict(row)}")
    return "\n".join(lines)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["t_half"] is None:
        return "one seed says nothing about chance"
    if abs(row["mean"]) <= row["t_half"]:
        return "no difference that these seeds can show"
    return "better" if row["mean"] > 0 else "worse"


def _sweep(points: Sequence[Score]) -> str:
    betas = sorted({point["beta"] for point in points})
    rows = []
    for sweep in SWEEPS:
        at = {p["beta"]: p["validation"] for p in points if (p["teacher"], p["role"]) == sweep}
        if at:
            rows.append(" | ".join([sweep_title(sweep), *(f"{at[b]:.2f}" if b in at else "" for b in betas)]))
    shown = table(" | ".join(["teacher, weight", *(f">{beta:,.0f}" for beta in betas)]), rows)
    return f"{shown}\n\nValidation AUROC in points by beta, {SEARCH_SIZE} training images, one seed."


def draw_sizes(scores: Scores, path: Path) -> None:
    """Mean and interval of the test AUROC against the number of training images."""
    styles = series_styles([text.capitalize() for text in TITLES.values()])
    figure, [[axes]] = panels(1, 1, legend_lines(styles))
    for place, (method, style) in enumerate(zip(TITLES, styles.values(), strict=True)):
        found = [(size, summary) for size in EPOCHS if (summary := scores.summary(method, size)) is not None]
        x = [size * (1 + 0.03 * (place - 1)) for size, _ in found]  # side by side, so that no bar hides another
        halves = [summary.normal_half or 0.0 for _, summary in found]
        axes.errorbar(x, [summary.mean for _, summary in found], yerr=halves, capsize=3, **style.look)
    _log_axis(axes, sorted({score["train_images"] for score in scores.students}))
    title, y = "DenseNet-40 on made-up radiographs, mean of the seeds", "Test AUROC (points) ± 1.96 s / sqrt(n)"
    label_axes(axes, title=title, x="Training images (log scale)", y=y)
    save(figure, path)


def draw_sweep(scores: Scores, path: Path) -> None:
    """Validation AUROC against beta by teacher and role, one seed, beside transfer learning of the same size."""
    base = "Transfer learning, without a beta"
    styles = series_styles([base, *map(sweep_title, SWEEPS)])
    figure, [[axes]] = panels(1, 1, legend_lines(styles))
    for sweep in SWEEPS:
        found = [point for point in scores.sweep if (point["teacher"], point["role"]) == sweep]
        line = sorted((point["beta"], point["validation"]) for point in found)
        axes.plot([x for x, _ in line], [y for _, y in line], **styles[sweep_title(sweep)].look)
    for score in scores.students:
        if (score["method"], score["train_images"], score["seed"]) == ("transfer_learning", SEARCH_SIZE, 0):
            betas = sorted({point["beta"] for point in scores.sweep})
            axes.plot(betas, [score["validation"]] * len(betas), **styles[base].look)
    _log_axis(axes, sorted({point["beta"] for point in scores.sweep}))
    title = f"DenseNet-40, {SEARCH_SIZE} training images, seed 0"
    label_axes(axes, title=title, x="Beta (log scale)", y="Validation AUROC (points)")
    save(figure, path)


def sweep_title(sweep: tuple[str, str]) -> str:
    """``In-domain teacher, weight 1/beta``."""
    teacher, role = sweep
    return f"{teacher.replace('_', '-').capitalize()} teacher, weight {'1/beta' if role == 'divide' else 'beta'}"


def _log_axis(axes: Any, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
