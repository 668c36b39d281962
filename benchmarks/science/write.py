"""Write the science checks' scores as JSON, a Markdown section and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.science.figures import draw_sizes, draw_sweep
from benchmarks.science.page import page
from benchmarks.science.scores import Scores, differences
from datasets.files import write_json, write_text


def write_results(scores: Scores, environment: Mapping[str, Any], folder: Path) -> Path:
    """Write science.json, science.md, science-sizes.png and science-beta.png; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    compared = differences(scores.students)
    document = {
        "environment": dict(environment),
        "complete": scores.complete,
        "teachers": dict(scores.teachers),
        "students": [asdict(score) for score in scores.students],
        "sweep": [asdict(point) for point in scores.sweep],
        "differences": compared,
    }
    write_json(folder / "science.json", document)
    draw_sizes(scores.students, folder / "science-sizes.png")
    draw_sweep(scores.sweep, scores.students, folder / "science-beta.png")
    write_text(folder / "science.md", page(scores, compared, environment))
    return folder / "science.md"
