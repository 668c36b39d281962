"""Trace what reached a run's weights: splits of data, published weights, other runs, searches.

An edge leads from a run to what it was made from: ``trained on`` and ``selected on`` a split, ``started from`` and
``learnt from`` other weights, ``chosen by`` a search of beta, which ``tried`` runs of its own. Configs hold the
configs that they rest on, so all of it is read from them alone, and there are no circles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from datasets.sources.registry import DATASETS
from harness.config import AttentionTransfer, BetaSearch, RunConfig, Weights
from harness.config.xrv_names import XRV_PREFIX

Way = Literal["trained on", "selected on", "started from", "learnt from", "chosen by", "tried"]
ROLES: dict[Way, str] = {"started from": "initial weights", "learnt from": "teacher", "chosen by": "beta search"}
"""What a source is to the run that it reached."""
OWN = "own training"


@dataclass(frozen=True, kw_only=True)
class Data:
    """A split of one beton, or a part of it."""

    dataset: str
    split: str | None
    """None for a split of somebody else's, of which no more is known."""
    subset: str = "full"
    content_hash: str | None = None
    """Of the beton; None where no file tells."""


@dataclass(frozen=True)
class Published:
    """Weights that others trained."""

    name: str
    """``imagenet``, or torchxrayvision's name."""


@dataclass(frozen=True)
class Search:
    """A search over beta."""

    name: str
    """``the beta search of RUN``."""
    run_id: str
    """Of that run without its beta, by which the search is known."""


@dataclass(frozen=True)
class Trained:
    """A run of ours."""

    run_id: str
    name: str


Owner = Published | Search | Trained
Node = Data | Owner


class Edge(NamedTuple):
    """One step back."""

    way: Way
    source: Node


class Seen(NamedTuple):
    """Images that reached a run's weights, or the choice of its beta."""

    role: str
    """What brought them: own training, initial weights, teacher, beta search."""
    owner: Owner
    """The run, published weights or search that they were seen by."""
    data: Data


class Lineage:
    """The graph of runs and of all that reached them."""

    def __init__(self, configs: Iterable[RunConfig] = (), hashes: Mapping[str, str | None] | None = None) -> None:
        """Trace these runs; ``hashes`` are content hashes of the betons that runs were trained on, by run id."""
        self.edges: dict[Node, tuple[Edge, ...]] = {}
        self.configs: dict[Node, RunConfig] = {}
        self._hashes = hashes or {}
        for config in configs:
            self.add(config)

    def add(self, config: RunConfig) -> Trained:
        """Trace a run and return its node."""
        node = Trained(config.run_id, config.name)
        if node not in self.edges:
            self.configs[node] = config
            self.edges[node] = tuple(self._edges(config))
        return node

    def _edges(self, config: RunConfig) -> Iterator[Edge]:
        data, content_hash = config.data, self._hashes.get(config.run_id)
        train = Data(dataset=data.dataset, split="train", subset=data.subset, content_hash=content_hash)
        yield Edge("trained on", train)
        yield Edge("selected on", Data(dataset=data.dataset, split="validation", content_hash=content_hash))
        if config.init.kind != "none":
            yield Edge("started from", self._weights(config.init))
        objective = config.objective
        if objective.teacher is not None and objective.teacher.kind != "none":
            yield Edge("learnt from", self._weights(objective.teacher))
        if isinstance(objective, AttentionTransfer) and isinstance(objective.beta, BetaSearch):
            template = objective.beta.template
            node = Search(f"the beta search of {template.name}", template.run_id)
            self.edges.setdefault(node, tuple(Edge("tried", self.add(run)) for run in objective.beta.runs))
            yield Edge("chosen by", node)

    def _weights(self, weights: Weights) -> Owner:
        if weights.run is not None:
            return self.add(weights.run)
        node, short = Published(weights.name or weights.source), (weights.name or "").removeprefix(XRV_PREFIX)
        saw = (name for name, entry in DATASETS.items() if short in entry.xrv_weights)
        self.edges.setdefault(node, tuple(Edge("trained on", Data(dataset=name, split=None)) for name in saw))
        return node

    def seen(self, run: Trained) -> list[Seen]:
        """All that a run has seen, nearest first: training images of its weights, and what chose its beta.

        A search has seen what its runs were trained and selected on.
        """
        found = dict[Seen, None]()
        waiting: list[tuple[str, Owner, Owner]] = [(OWN, run, run)]
        visited: set[Node] = {run}
        for role, owner, node in waiting:
            for way, source in self.edges.get(node, ()):
                searched = isinstance(owner, Search)
                if isinstance(source, Data):
                    if way == "trained on" or searched:
                        found[Seen(role, owner, source)] = None
                elif source not in visited:
                    visited.add(source)
                    first = ROLES[way] if role == OWN else role
                    waiting.append((first, owner if searched else source, source))
        return list(found)
