"""What the script of the page works with: values of the charts, cells and runs as JSON, and the chart library."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from launch.report.content import Chart, Panel, ReportData, Series
from launch.report.figures.charts import chart_styles
from launch.report.read.collect import Run
from launch.report.read.names import flat_fields, word
from launch.report.statistics.cells import POINTS, Cell
from launch.report.statistics.pairs import Compared
from launch.report.tables.overview import file_links
from launch.report.tables.table import Link

LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
"""BokehJS, 1.4 MB out of the wheel: hover, zoom and log axes without a server or eval; plotly's script has 4.5 MB."""
_MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "v": "inverted_triangle",
    "P": "cross",
    "X": "x",
}
"""Bokeh's names of matplotlib's markers."""


def page_data(data: ReportData, charts: Sequence[Chart]) -> Markup:
    """Everything as JSON that can stand in a page: no name in it can end the script or become markup."""
    places = {cell.config.hash: i for i, cell in enumerate(data.cells)}
    document = {
        "charts": [_chart(item.panels) for item in charts],
        "cells": [_cell(cell) for cell in data.cells],
        "runs": [_run(run, i) for i, cell in enumerate(data.cells) for run in cell.runs],
        "pairs": [_pair(item, places) for item in data.compared],
    }
    return htmlsafe_json_dumps(document, separators=(",", ":"), allow_nan=False)


class RunPart(NamedTuple):
    """The part of a run on the page, which opens on a click; its script fills it."""

    id: str
    text: str
    links: tuple[Link, ...]


def run_parts(data: ReportData) -> list[RunPart]:
    """One for each run, in the order of the tables."""
    return [
        RunPart(run.run_id, f"{_cell_text(cell)}, seed {run.config.seed}, {run.progress}", file_links(run, data.out))
        for cell in data.cells
        for run in cell.runs
    ]


@cache
def library() -> Markup:
    """The chart library's scripts in one text."""
    folder = files("bokeh") / "server" / "static" / "js"
    return Markup("\n".join((folder / name).read_text(encoding="utf-8") for name in LIBRARY))


def script_hash(text: str) -> str:
    """The source by which a content security policy lets this script run, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _chart(panels: Sequence[Panel]) -> dict[str, Any]:
    styles = {name: [style.colour, _MARKERS[style.marker]] for name, style in chart_styles(panels).items()}
    return {"panels": [_panel(panel) for panel in panels], "styles": styles}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "x": panel.x_text,
        "y": panel.y_text,
        "rows": panel.categories,
        "log": panel.log_x,
        "at": panel.reference,
        "series": [_series(one) for one in panel.series],
    }


def _series(series: Series) -> dict[str, Any]:
    ends = {"low": _rounded(series.low), "high": _rounded(series.high)} if series.low else {}
    words = {"name": series.name, "part": series.part, "line": series.line, "band": series.band}
    return {**words, "x": _rounded(series.x), "y": _rounded(series.y), **ends}


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """The values as JSON: in short, integers whole, None for what is not finite."""
    return [None if value is None or not math.isfinite(value) else _short(value) for value in values]


def _short(value: float) -> float:
    """To two decimals, as points are shown, and small values to four digits."""
    return int(value) if value == int(value) else round(value, 2) if abs(value) >= 10 else float(f"{value:.4g}")


def _points(auroc: float | None) -> float | None:
    return None if auroc is None else _short(POINTS * auroc)


def _cell_text(cell: Cell) -> str:
    return f"{cell.label.group_text}: {word(cell.label.network)}, {cell.method_text}"


def _cell(cell: Cell) -> dict[str, Any]:
    names = dict.fromkeys(label for run in cell.finished if run.result for label in run.result.test.auroc)
    means = {name: cell.label_mean(name) for name in names}
    return {
        "name": _cell_text(cell),
        "mean": _short(cell.summary.mean) if cell.summary else None,
        "labels": {name: _short(mean.mean) if mean else None for name, mean in means.items()},
        "fields": flat_fields(cell.config),
    }


def _run(run: Run, cell: int) -> dict[str, Any]:
    result = run.result
    return {
        "id": run.run_id,
        "cell": cell,
        "seed": run.config.seed,
        "facts": {key: value for key, value in run_facts(run).items() if value},
        "labels": {name: _points(value) for name, value in result.test.auroc.items()} if result else {},
        "steps": [epoch.step for epoch in run.epochs],
        "train": [_points(epoch.train.mean_auroc) for epoch in run.epochs],
        "validation": [_points(epoch.validation.mean_auroc) if epoch.validation else None for epoch in run.epochs],
    }


def run_facts(run: Run) -> Mapping[str, str]:
    """Result and provenance of a run in words; what its files do not say is empty."""
    result, facts = run.result, dict[str, str]()
    if result is not None:
        facts = {
            "best epoch": "" if result.best_epoch is None else f"{result.best_epoch + 1}",
            "validation AUROC": _score(result.validation.mean_auroc),
            "test AUROC": _score(result.test.mean_auroc),
            "attention weight": _text(result.attention_weight, ".4g"),
            "training images": _text(result.train_images, ",d"),
            "images/s": _text(result.images_per_s, ",.1f"),
            "seconds": _text(result.seconds, ",.0f"),
            "restarts": str(result.restarts),
        }
    return {
        "state": run.progress,
        **facts,
        "precision": run.precision,
        "devices": ", ".join(run.devices),
        "processes": run.processes,
        "commit": run.commit,
        "content hash of the beton": run.content_hash,
        "images": "made up" if run.phantom else "",
        "versions": ", ".join(f"{name} {version}" for name, version in versions(run).items()),
    }


def versions(run: Run) -> dict[str, str]:
    """Versions of Python and of the packages, as far as they were recorded."""
    found = run.provenance.get("versions")
    names = {"Python": run.provenance.get("python"), **(found if isinstance(found, dict) else {})}
    return {str(name): value for name, value in names.items() if isinstance(value, str)}


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _score(auroc: float | None) -> str:
    return "" if auroc is None else f"{POINTS * auroc:.2f} points"


def _pair(item: Compared, places: Mapping[str, int]) -> dict[str, Any]:
    """Difference and interval by label, of the method minus transfer learning."""
    rows = {
        name: [*_rounded(POINTS * value for value in (one.difference, one.low, one.high)), *_rounded([one.p_holm])]
        for name, one in zip(item.names, item.intervals, strict=True)
    }
    return {"base": places[item.pair.base.config.hash], "other": places[item.cell.config.hash], "rows": rows}
