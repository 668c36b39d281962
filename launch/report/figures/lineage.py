"""Draw what the cells' weights were made from, in layers from left to right."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from launch.lineage.graph import Data, Lineage, Node, Published, Search, Way
from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import picture, plain
from launch.report.read.names import CellLabel, cell_label, word
from launch.report.statistics.cells import Cell, grouped

COLOURS: dict[Way, str] = {
    "trained on": "#000000",
    "started from": "#0072B2",
    "learnt from": "#D55E00",
    "chosen by": "#009E73",
}
BENDS: dict[Way, float] = {"started from": 0.05, "learnt from": -0.05}
"""One source may be both, and both arrows are seen."""
CAPTION = (
    "Training data and published weights on the left, the runs made from them, the cells of the tables on the right. "
    "Training sizes, networks, seeds and the runs of a search are not told apart."
)
_LAYER_INCHES, _ROW_INCHES, _LINE = 3.1, 0.5, 38


@dataclass
class Box:
    """What a box was made from: texts of other boxes, each with how; and the layer that it stands in."""

    sources: set[tuple[str, Way]] = field(default_factory=set)
    layer: int = 0


Boxes = dict[str, Box]
"""By their texts."""


def lineage_figure(data: ReportData) -> list[Picture]:
    """A box for all students of one dataset, start and method; none where no run or search is behind any of them."""
    cells = [cell for cell in data.cells if cell.role == "student"]
    boxes = lineage_boxes(cells) if cells else Boxes()
    figure = _figure(boxes) if boxes and _last(boxes) > 1 else None
    return picture(figure, data.out / "lineage.png", "What the weights were made from", CAPTION, cells)


def lineage_boxes(cells: Sequence[Cell]) -> Boxes:
    """What is drawn of the graph: cells by their sources, and all behind them.

    Layers go by the graph itself, which has no circles; boxes of several runs might.
    """
    lineage, boxes = Lineage(cell.config for cell in cells), Boxes()

    def sources(node: Node) -> Box:
        edges = lineage.edges.get(node, ())
        if isinstance(node, Search):  # its runs differ in beta alone
            edges = lineage.edges[edges[0].source]
        behind = [(edge.way, *box(edge.source)) for edge in edges if edge.way in COLOURS]
        layers = (layer for _, _, layer in behind)
        return Box({(text, way) for way, text, _ in behind}, 1 + max(layers, default=-1))

    @cache
    def box(node: Node) -> tuple[str, int]:
        text, found = _text(node, lineage), sources(node)
        known = boxes.setdefault(text, Box())
        known.sources.update(found.sources)
        known.layer = max(known.layer, found.layer)
        return text, found.layer

    made = [(sources(lineage.add(cell.config)).sources, cell.label) for cell in cells]
    last = max(known.layer for known in boxes.values()) + 1
    for members in grouped(made, lambda item: (item[1].dataset, item[1].init, _method(item[1]))).values():
        text = _cells_text([label for _, label in members])
        boxes[text] = Box(set().union(*(of for of, _ in members)), last)
    return boxes


def _method(label: CellLabel) -> str:
    """Method and teacher, whatever part of the network is trained."""
    return label._replace(scope="all").method_text


def _cells_text(labels: Sequence[CellLabel]) -> str:
    """What cells of one dataset, start and method have in common."""
    networks = ", ".join(dict.fromkeys(word(label.network) for label in labels))
    sizes = ", ".join(dict.fromkeys(label.subset for label in labels))
    count, first = f"{len(labels)} cell{'s' * (len(labels) != 1)}", labels[0]
    return f"{count} of {word(first.dataset)} ({sizes}) from {word(first.init)} weights: {_method(first)}; {networks}"


def _text(node: Node, lineage: Lineage) -> str:
    """What stands in a box: datasets and sources, without sizes, networks and seeds."""
    if isinstance(node, Data):
        return f"{word(node.dataset)}, {node.split or 'a split of its own'}"
    if isinstance(node, Published):
        return word(node.name)
    run = lineage.edges[node][0].source if isinstance(node, Search) else node
    label = cell_label(lineage.configs[run])
    start, teacher = word(label.init), "" if label.teacher == "none" else f", {label.teacher_text} teacher"
    what = "beta search" if isinstance(node, Search) else "run"
    return f"{what} on {word(label.dataset)} from {start} weights{teacher}"


def _places(boxes: Boxes) -> dict[str, tuple[float, float]]:
    """Where boxes stand: their layer, and a height of 0..1; within a layer near to what was made of them."""
    layers = [[text for text, box in boxes.items() if box.layer == layer] for layer in range(_last(boxes) + 1)]
    places: dict[str, tuple[float, float]] = {}
    for number, layer in reversed(list(enumerate(layers))):
        users = {text: [places[user][1] for user in places if text in dict(boxes[user].sources)] for text in layer}
        layer.sort(key=lambda text: -sum(users[text]) / max(1, len(users[text])))
        places |= {text: (number, 1 - (place + 0.5) / len(layer)) for place, text in enumerate(layer)}
    return places


def _last(boxes: Boxes) -> int:
    return max(box.layer for box in boxes.values())


def _figure(boxes: Boxes) -> Figure:
    places, columns = _places(boxes), _last(boxes) + 1
    rows = max(Counter(box.layer for box in boxes.values()).values())
    figure = Figure(figsize=(_LAYER_INCHES * columns, _ROW_INCHES * rows + 0.7), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.05, columns)
    axes.set_ylim(0, 1)
    look = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "0.5", "linewidth": 0.6}
    for text, box in boxes.items():
        for source, way in sorted(box.sources):
            arrow = {"arrowstyle": "->", "color": COLOURS[way], "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
            arrow["connectionstyle"] = f"arc3,rad={BENDS.get(way, 0.0)}"
            axes.annotate("", xy=places[text], xytext=places[source], arrowprops=arrow, zorder=1)
        words = textwrap.fill(plain(text), _LINE)
        axes.text(*places[text], words, fontsize=6, va="center", bbox=look, zorder=2)  # over its arrows' beginnings
    ways = {way for box in boxes.values() for _, way in box.sources}
    lines = [Line2D([], [], color=colour, label=way) for way, colour in COLOURS.items() if way in ways]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    return figure
