"""What a student learns from, as configs: one dataclass for each method, told apart by ``method``.

Every objective says its ``tag`` (for run names), its ``teacher`` (None without one), the ``weight`` of its transfer
loss and the runs that it ``needs``, so that nobody has to ask which method it is.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import harness
from harness.checks import STRICT, check, check_choice
from harness.weights_config import Weights

if TYPE_CHECKING:
    # Configs contain each other. pydantic evaluates ``harness.config.RunConfig`` once both modules are loaded.
    import harness.config

AttentionForm = Literal["eq2", "mean_square", "original_at"]
BetaRole = Literal["divide", "multiply"]
Embedding = Literal["pooled", "planes"]


@dataclass(frozen=True, kw_only=True)
class TransferLearning:
    """Cross-entropy alone, from initial weights: the first term of the paper's equation (1)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    tag: ClassVar[str] = "tl"
    teacher: ClassVar[None] = None
    weight: ClassVar[None] = None

    method: Literal["transfer_learning"] = "transfer_learning"

    @property
    def needs(self) -> tuple[harness.config.RunConfig, ...]:
        """No run but that of the initial weights, which is not the objective's."""
        return ()


@dataclass(frozen=True, kw_only=True)
class WithTeacher:
    """Base of all methods that add the weighted loss between student and frozen teacher to the cross-entropy."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    tag: ClassVar[str]

    teacher: Weights
    """The frozen DenseNet-121 that the student learns from."""

    @property
    def needs(self) -> tuple[harness.config.RunConfig, ...]:
        """The runs whose files the objective reads: the teacher's, if it is one of ours."""
        return () if self.teacher.run is None else (self.teacher.run,)


@dataclass(frozen=True, kw_only=True)
class BetaSearch:
    """A search over beta on the validation split, with one seed; the winner is used wherever this is referred to."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    template: harness.config.RunConfig
    """An attention-transfer run; its own beta is replaced by each point in turn."""
    points: tuple[float, ...]
    """The betas tried; the highest best validation AUROC wins, the smaller beta on a tie."""

    def __post_init__(self) -> None:
        """The template must have a beta to replace."""
        check(len(self.points) > 0, "a beta search needs at least one point")
        check(isinstance(self.template.objective, AttentionTransfer), "a beta search needs attention transfer")

    @cached_property
    def runs(self) -> tuple[harness.config.RunConfig, ...]:
        """One run for each point, in the order of the points."""
        objective = self.template.objective
        assert isinstance(objective, AttentionTransfer)
        return tuple(
            dataclasses.replace(self.template, objective=dataclasses.replace(objective, beta=beta))
            for beta in self.points
        )


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(WithTeacher):
    """Cross-entropy plus the weighted distance of attention planes: the paper's equations (1) and (2)."""

    tag: ClassVar[str] = "at"

    method: Literal["attention_transfer"] = "attention_transfer"
    beta: float | BetaSearch = 1.0
    """The paper's beta, or the search that chooses it."""
    beta_role: BetaRole = "divide"
    """``divide``: weight 1/beta, as the paper's text says; ``multiply``: weight beta, as its equation (1) says."""
    form: AttentionForm = "eq2"
    """``eq2`` of the paper; ``mean_square`` of the same planes; ``original_at`` of Zagoruyko and Komodakis."""
    weight: float | None = None
    """The canonical weight of the attention loss, given directly instead of by beta and its role."""

    def __post_init__(self) -> None:
        """Refuse values that have no canonical weight."""
        check_choice("objective.beta_role", self.beta_role, BetaRole)
        check_choice("objective.form", self.form, AttentionForm)
        if not isinstance(self.beta, BetaSearch):
            check(self.beta > 0.0, "objective.beta must be positive; weight = 0 switches the attention loss off")
        check(self.weight is None or self.weight >= 0.0, "objective.weight must not be negative")

    def attention_weight(self, beta: float | None = None) -> float:
        """Lambda in L = CE + lambda * L_AT; ``beta`` is the value that a search chose."""
        if self.weight is not None:
            return self.weight
        if beta is None:
            if isinstance(self.beta, BetaSearch):
                raise ValueError("beta is chosen by a search that has not been resolved")
            beta = self.beta
        return 1.0 / beta if self.beta_role == "divide" else beta

    @property
    def needs(self) -> tuple[harness.config.RunConfig, ...]:
        """The teacher's run and those of the beta search."""
        return (*super().needs, *(self.beta.runs if isinstance(self.beta, BetaSearch) else ()))


@dataclass(frozen=True, kw_only=True)
class LogitDistillation(WithTeacher):
    """Cross-entropy plus the teacher's softened outputs as further targets, on the labels that both have by name."""

    tag: ClassVar[str] = "kd"

    method: Literal["logit_distillation"] = "logit_distillation"
    weight: float = 1.0
    """Weight of the distillation loss."""
    temperature: float = 2.0
    """Logits of both are divided by it; above 1 the teacher's targets are softer."""

    def __post_init__(self) -> None:
        """A teacher without labels of chest X-rays has no outputs to learn from."""
        check(
            self.teacher.kind in ("run", "xrv"),
            f"logit distillation needs a teacher with labels (kind = 'run' or 'xrv'), not {self.teacher.kind!r}",
        )
        _check_weight(self.weight)
        _check_positive("temperature", self.temperature)


@dataclass(frozen=True, kw_only=True)
class FitNet(WithTeacher):
    """Cross-entropy plus the squared error of the student's planes, through a learned 1x1 convolution (hints)."""

    tag: ClassVar[str] = "fitnet"

    method: Literal["fitnet"] = "fitnet"
    weight: float = 1.0
    """Weight of the hint loss."""

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        _check_weight(self.weight)


@dataclass(frozen=True, kw_only=True)
class Relational(WithTeacher):
    """Cross-entropy plus the difference of distances and angles between the images of a batch (RKD)."""

    tag: ClassVar[str] = "rkd"

    method: Literal["relational"] = "relational"
    weight: float = 1.0
    """Weight of the whole relational loss."""
    distance: float = 1.0
    """Share of the distance-wise loss; 0 leaves it out."""
    angle: float = 2.0
    """Share of the angle-wise loss, twice the other one as in the source; 0 leaves it out."""
    embedding: Embedding = "pooled"
    """An image as ``pooled``: the 32 means of its planes at the tap; as ``planes``: all values of these planes."""

    def __post_init__(self) -> None:
        """At least one of the two losses must count."""
        _check_weight(self.weight)
        check_choice("objective.embedding", self.embedding, Embedding)
        for name, share in (("distance", self.distance), ("angle", self.angle)):
            check(0.0 <= share < math.inf, f"objective.{name} must not be negative")
        check(self.distance + self.angle > 0.0, "objective.distance and objective.angle must not both be 0")


@dataclass(frozen=True, kw_only=True)
class ChannelWise(WithTeacher):
    """Cross-entropy plus the divergence of planes taken as distributions over positions."""

    tag: ClassVar[str] = "cwd"

    method: Literal["channel_wise"] = "channel_wise"
    weight: float = 1.0
    """Weight of the channel-wise loss."""
    temperature: float = 4.0
    """Activations are divided by it before the softmax over positions; 4 as in the source."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _check_weight(self.weight)
        _check_positive("temperature", self.temperature)


def _check_weight(weight: float) -> None:
    check(0.0 <= weight < math.inf, "objective.weight must not be negative; 0 switches the transfer loss off")


def _check_positive(name: str, value: float) -> None:
    check(0.0 < value < math.inf, f"objective.{name} must be positive")


Objective = TransferLearning | AttentionTransfer | LogitDistillation | FitNet | Relational | ChannelWise
"""Every objective; ``method`` tells which one a table of keys is."""
