"""Typed records of a run folder's JSON files, checked by pydantic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

Auroc = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
MEAN_TOLERANCE = 1e-4
"""Largest difference, in AUROC, between a recorded mean and the mean of its labels: float32 rounding and no more."""


@dataclass(frozen=True, kw_only=True)
class TestScore:
    """Scores on the test split; a label with one class has no AUROC and is None."""

    mean_auroc: Auroc | None
    auroc: dict[str, Auroc | None]

    def __post_init__(self) -> None:
        """The mean must be the mean of the labels that have an AUROC."""
        mean = self.mean_over(frozenset(self.auroc))
        if mean is None or self.mean_auroc is None:
            if mean is not self.mean_auroc:
                raise ValueError("mean_auroc and auroc disagree on whether any label has an AUROC")
        elif abs(mean - self.mean_auroc) > MEAN_TOLERANCE:
            raise ValueError(f"mean_auroc is {self.mean_auroc:.6f} but its labels' mean is {mean:.6f}")

    @property
    def defined(self) -> frozenset[str]:
        """Labels that have an AUROC."""
        return frozenset(label for label, value in self.auroc.items() if value is not None)

    def mean_over(self, labels: frozenset[str]) -> float | None:
        """Unweighted mean AUROC over those of ``labels`` that are defined; None for no label."""
        values = [value for label, value in self.auroc.items() if label in labels and value is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, kw_only=True)
class MeanScore:
    """The mean AUROC of one split; None where no label has one."""

    mean_auroc: Auroc | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the report needs of ``result.json``."""

    run_id: str
    test: TestScore
    validation: MeanScore = field(default_factory=MeanScore)
    best_epoch: int | None = None
    attention_weight: FiniteFloat | None = None
    images_per_s: FiniteFloat | None = None
    seconds: FiniteFloat | None = None
    train_images: int | None = None
    restarts: int = 0
    content_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class EpochScores:
    """What the report needs of one line of ``metrics.jsonl``; ``step`` counts optimiser steps."""

    epoch: int
    step: int
    train: MeanScore
    validation: MeanScore | None = None
    elapsed_s: FiniteFloat | None = None
    data_wait_s: FiniteFloat | None = None
    compute_s: FiniteFloat | None = None


_EPOCH: TypeAdapter[EpochScores] = TypeAdapter(EpochScores)


def parse_epochs(values: list[Any]) -> tuple[tuple[EpochScores, ...], int]:
    """Epochs in order, the last line of an epoch winning, and the number of lines that cannot be used."""
    epochs: dict[int, EpochScores] = {}
    unusable = 0
    for value in values:
        try:
            scores = _EPOCH.validate_python(value)
        except ValidationError:
            unusable += 1
        else:
            epochs[scores.epoch] = scores
    return tuple(epochs[epoch] for epoch in sorted(epochs)), unusable


def says_phantom(*documents: Any) -> bool:
    """Whether a document marks its images as made up: a key ``phantom`` that is true, at any depth."""
    for document in documents:
        if isinstance(document, dict) and (document.get("phantom") or says_phantom(*document.values())):
            return True
        if isinstance(document, list) and says_phantom(*document):
            return True
    return False
