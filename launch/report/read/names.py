"""Name a run's cell in the words of the tables."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from datasets.sources.registry import DATASETS, JOINT, parse_subset
from harness.config import (
    NETWORKS,
    OBJECTIVES,
    AttentionTransfer,
    BetaSearch,
    RunConfig,
    Weights,
    to_dict,
)
from harness.config.networks import known_scopes

_WORDS = {"imagenet": "ImageNet", "none": "random"}
_TITLES: dict[str, str] = {}


def learn_title(dataset: str, title: object) -> None:
    """Call a dataset that is not registered as the folder of a run on it does, if it does."""
    if isinstance(title, str) and title:
        _TITLES[dataset] = title


def forget_titles() -> None:
    """Begin anew: titles are those of the runs of one report."""
    _TITLES.clear()


def word(name: str) -> str:
    """The name as a reader knows it: ``densenet121`` is DenseNet-121; unknown names stay as they are."""
    for registry in (DATASETS, NETWORKS, OBJECTIVES, known_scopes()):
        if name in registry:
            return registry[name].title
    return _WORDS.get(name, _TITLES.get(name, name))


class CellLabel(NamedTuple):
    """The fields by which tables tell cells apart, the paper's seven first; ``teacher`` is ``none`` without one."""

    dataset: str
    subset: str
    init: str
    method: str
    teacher: str
    network: str
    scope: str
    teacher_network: str = ""
    """Of a run that teaches, unless it is the paper's DenseNet-121."""

    @property
    def teacher_text(self) -> str:
        """Teacher for a table; a dash where there is none."""
        if self.method == "transfer_learning":
            return "-"
        return " ".join(map(word, filter(None, (self.teacher, self.teacher_network))))

    @property
    def method_text(self) -> str:
        """Method, teacher and scope in one phrase."""
        text = word(self.method)
        if self.method != "transfer_learning":
            text += f", {self.teacher_text} teacher"
        return text if self.scope == "all" else f"{text}, {word(self.scope)}"

    @property
    def group(self) -> tuple[str, str, str]:
        """Cells that are compared in one table: same dataset, subset and initial weights."""
        return (self.dataset, self.subset, self.init)

    @property
    def group_text(self) -> str:
        images = "all" if self.subset == "full" else self.subset
        return f"{word(self.dataset)}, {images} training images, {word(self.init)} initial weights"

    @property
    def order(self) -> tuple[str, float, str, bool, str, str, str]:
        """Sort key: sizes ascending, transfer learning before attention transfer."""
        size = sum(parse_subset(part) or math.inf for part in self.subset.split(JOINT))
        tail = (self.method != "transfer_learning", self.teacher + self.teacher_network, self.network, self.scope)
        return (self.dataset, size, self.init, *tail)


def cell_label(config: RunConfig) -> CellLabel:
    """The cell that ``config`` belongs to; subsets of one size have one name."""
    objective = config.objective
    run = None if objective.teacher is None else objective.teacher.run
    return CellLabel(
        dataset=config.data.dataset,
        subset=JOINT.join(map(_size, config.data.subset.split(JOINT))),
        init=config.init.source,
        method=objective.method,
        teacher="none" if objective.teacher is None else objective.teacher.source,
        network=config.network.name,
        scope=config.network.scope,
        teacher_network="" if run is None or run.network.name == "densenet121" else run.network.name,
    )


def _size(subset: str) -> str:
    """The one name of subsets of this size."""
    size = parse_subset(subset)
    return "full" if size is None else f"{size // 1000}k" if size % 1000 == 0 else str(size)


def flat_fields(config: RunConfig) -> dict[str, str]:
    """Every field but the seed as ``schedule.epochs: 128``; a run or search inside is one value, named shortly.

    Options at their defaults, which no file names, are among them: by these another cell may differ.
    """
    sections = {item.name: getattr(config, item.name) for item in dataclasses.fields(config) if item.name != "seed"}
    fields = {
        f"{name}.{item.name}": str(written.get(item.name, item.default))
        for name, section in sections.items()
        for written in [to_dict(section)]
        for item in dataclasses.fields(section)
    }
    fields["init.run"] = _run_text(config.init)
    teacher = config.objective.teacher
    if teacher is not None:
        fields["objective.teacher"] = f"{teacher.source} {_run_text(teacher)}".strip()
    if isinstance(config.objective, AttentionTransfer):
        beta = config.objective.beta
        fields["objective.beta"] = _search_text(beta) if isinstance(beta, BetaSearch) else f"{beta:g}"
    return fields


def _search_text(search: BetaSearch) -> str:
    place = "best" if search.rung is None else f"rank {search.rank} after rung {search.rung}"
    by = " by halving" if search.pruner == "halving" else ""
    return f"{place} of {len(search.points)}{by} for {search.template.run_id}"


def _run_text(weights: Weights) -> str:
    if weights.sha256 is not None:
        return weights.sha256[:8]
    return "" if weights.run is None else weights.run.run_id
