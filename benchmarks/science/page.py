"""Write the section of the results page about the science checks, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.science.data import PATIENTS, PATTERNS, SIZE
from benchmarks.science.runs import BATCH_SIZE, EPOCHS, LEARNING_RATE, METHODS, SEARCH_SIZE, SEEDS
from benchmarks.science.scores import Point, Score, Scores
from launch.report.statistics.intervals import summarise

TITLES = {
    "transfer_learning": "transfer learning",
    "in_domain": "attention transfer, in-domain teacher",
    "unrelated": "attention transfer, unrelated teacher",
}


def page(scores: Scores, differences: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]) -> str:
    """The section: what was run, what came out, and what it says."""
    parts = ["## Science checks on made-up images", _circumstances(environment), _design(scores)]
    if not scores.complete:
        parts.append("**Not all runs are done; what follows is from those that are.**")
    parts += ["### Test AUROC against training size", _sizes(scores.students)]
    parts += ["![test AUROC against training size](science-sizes.png)", _verdicts(differences)]
    parts += ["### Beta", _sweep(scores.sweep), "![validation AUROC against beta](science-beta.png)"]
    return "\n\n".join(parts) + "\n"


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


def _sizes(scores: Sequence[Score]) -> str:
    lines = ["| training images | " + " | ".join(TITLES.values()) + " |", "|---:|---:|---:|---:|"]
    for size in EPOCHS:
        cells = []
        for method in METHODS:
            summary = summarise(s.test for s in scores if s.method == method and s.train_images == size)
            half = None if summary is None else summary.normal_half
            cells.append(
                "" if summary is None else f"{summary.mean:.2f}" + ("" if half is None else f" ± {half:.2f}")
            )
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    chosen = {s.method: s.beta for s in scores if s.beta is not None}
    betas = "; ".join(f"{TITLES[method]}: {beta:g}" for method, beta in chosen.items())
    return "\n".join(lines) + f"\n\nPoints, mean ± 1.96 s / sqrt(n) over seeds. Beta chosen: {betas or 'none yet'}."


def _verdicts(differences: Sequence[Mapping[str, Any]]) -> str:
    lines = ["Attention transfer minus transfer learning, seed by seed, with Student's 95 % interval:", ""]
    for row in differences:
        half = row["t_half"]
        shown = f"{row['mean']:+.2f} points" + ("" if half is None else f" ± {half:.2f}")
        lines.append(f"- {TITLES[row['method']]}, {row['train_images']:,} images: {shown}: {_verdict(row)}")
    return "\n".join(lines)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["t_half"] is None:
        return "one seed says nothing about chance"
    if abs(row["mean"]) <= row["t_half"]:
        return "no difference that these seeds can show"
    return "better" if row["mean"] > 0 else "worse"


def _sweep(points: Sequence[Point]) -> str:
    betas = sorted({point.beta for point in points})
    lines = ["| teacher, weight | " + " | ".join(f"{beta:,.0f}" for beta in betas) + " |"]
    lines.append("|---|" + "---:|" * len(betas))
    names = {(point.teacher, point.role): None for point in points}
    for teacher, role in names:
        at = {p.beta: p.validation for p in points if (p.teacher, p.role) == (teacher, role)}
        cells = " | ".join(f"{at[beta]:.2f}" if beta in at else "" for beta in betas)
        title = f"{teacher.replace('_', '-')} teacher, {'1/beta' if role == 'divide' else 'beta'}"
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines) + f"\n\nValidation AUROC in points by beta, {SEARCH_SIZE} training images, one seed."
