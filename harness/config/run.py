"""Describe what a run computes: one frozen ``RunConfig``, whose hash names the run folder.

Runs contain each other: a student's config holds its teacher's run, and a beta search holds the runs that it
compares, so the dataclasses that refer to each other live in this one file. Nothing here imports torch, which keeps
planning a grid fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Protocol, get_args

from datasets.augment import MOST
from datasets.errors import check
from datasets.files import KnownKeysOnly
from datasets.sources.registry import JOINT, WELL_FORMED, parse_subset, parts_of
from harness.config.checks import (
    OMIT_DEFAULT,
    as_json_text,
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
)
from harness.config.halving import Rung, rungs_of
from harness.config.loss import LossOptions
from harness.config.networks import MODULES, NETWORKS, check_network, is_library
from harness.config.objectives import OneOfTheRegistered, register_objective
from harness.config.schedule import Schedule
from harness.config.xrv_names import XRV_PREFIX, XrvName

SCHEMA_VERSION = 1
"""Enters every run's hash; raised when the meaning of a field changes, so that old results are not reused."""

AttentionForm = Literal["eq2", "mean_square", "original_at"]
BetaRole = Literal["divide", "multiply"]
Embedding = Literal["pooled", "planes"]
Pruner = Literal["none", "halving"]
WeightsKind = Literal["imagenet", "run", "xrv", "none"]
MAX_IMAGE_SIZE = 8192


def parse_data(dataset: str, subset: str) -> tuple[tuple[str, str], ...]:
    """Dataset and subset of each part: one, or of ``a+b`` and ``1k+full``, or ``full``, two."""
    names = parts_of(dataset)
    subsets = ("full",) * len(names) if subset == "full" else tuple(subset.split(JOINT))
    repeated = next((name for name in names if names.count(name) > 1), None)
    check(repeated is None, f"data.dataset = {dataset!r} names {repeated} twice")
    each = f"expected full, or a subset of each of the {len(names)} datasets, as {JOINT.join(['1k'] * len(names))}"
    check(len(names) == 1 or len(subsets) == len(names), f"data.subset = {subset!r}: {each}")
    all_full = len(names) > 1 and subset != "full" and set(subsets) == {"full"}
    check(not all_full, f"data.subset = {subset!r}: full says the same")
    for one in subsets if len(names) > 1 else (subset,):
        parse_subset(one)
    return tuple(zip(names, subsets, strict=True))


def check_image_size(key: str, size: int | None) -> None:
    """Raise ValueError unless the side of an image, if there is one, is a multiple of 32 in range."""
    check(size is None or (size >= 32 and size % 32 == 0), f"{key} must be a multiple of 32")
    check(size is None or size <= MAX_IMAGE_SIZE, f"{key} must be at most {MAX_IMAGE_SIZE}")


@dataclass(frozen=True, kw_only=True)
class DataConfig(KnownKeysOnly):
    """Which images, and how they are augmented while training."""

    dataset: str
    """Name of a dataset, registered or of one's own; its beton is looked up by this name. Several, joined by +, are
    read as one: ``chexpert+chestxray14``."""
    subset: str = "full"
    """``full`` or a number of training images: 1k, 5k, 50k, 200. Subsets are nested. Of several datasets one each, as
    ``1k+full``."""
    image_size: int = 256
    """Side of the square image in pixels; must equal the beton's."""
    rotation_deg: float = 15.0
    """Training images are rotated by an angle uniform in plus or minus this many degrees."""
    flip_probability: float = 0.5
    """Probability of a horizontal flip of a training image."""
    scale: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Training images are enlarged by a factor uniform in 1 plus or minus this."""
    crop: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """A window of 1 minus this .. 1 of the side, anywhere in a training image, takes the whole image's place."""
    brightness: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Up to this part of the range of gray levels is added to a training image or taken from it."""
    contrast: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Distances from mid-gray are multiplied by a factor uniform in 1 plus or minus this."""
    balance: str | None = field(default=None, metadata=OMIT_DEFAULT)
    """Draw the training images so that groups come equally often: a label's positives and the others; ``labels``, the
    positives of each label; or the values of an attribute, such as view or sex. An epoch keeps its length."""

    def __post_init__(self) -> None:
        """Refuse values outside their range; whether there is the dataset is told where its beton is looked for."""
        names = parts_of(self.dataset) if isinstance(self.dataset, str) else ("",)
        formed = all(WELL_FORMED.fullmatch(name) for name in names)
        check(formed, f"data.dataset = {self.dataset!r}: expected up to 64 letters, digits, '.', '_' and '-'")
        parse_data(self.dataset, self.subset)
        check_image_size("data.image_size", self.image_size)
        check(self.balance != "", "data.balance = '' names no label and no attribute")
        check(0.0 <= self.rotation_deg <= 180.0, "data.rotation_deg must lie in 0..180")
        check(0.0 <= self.flip_probability <= 1.0, "data.flip_probability must lie in 0..1")
        for key, most in MOST.items():
            check(0.0 <= getattr(self, key) <= most, f"data.{key} must lie in 0..{most:g}")

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Each dataset with its subset."""
        return parse_data(self.dataset, self.subset)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(KnownKeysOnly):
    """The student (or teacher in training): architecture and which parameters are trained."""

    name: str = "densenet121"
    """A registered network: densenet121, or densenet40 of the paper's Table 4; or ``torchvision/NAME``,
    ``timm/NAME``."""
    scope: str = "all"
    """``all`` parameters, or ``last34``: transition3, denseblock4, norm5 and classifier of DenseNet-121. Of a
    library's network also modules by name, joined by +, as ``layer3+layer4``, to which its classifier is added;
    ``classifier`` alone trains nothing else."""
    head_relu: bool = False
    """A ReLU between the two 1x1 convolutions of DenseNet-40; Table 4 lists none."""
    frozen_bn: Literal["update", "eval"] = "update"
    """Whether batch norms outside the scope go on updating their statistics (PyTorch's default)."""

    sync_bn: bool = field(default=False, metadata=OMIT_DEFAULT)
    """Batch norm statistics of a training step over all processes together, instead of each process's own share."""
    tap: str | None = field(default=None, metadata=OMIT_DEFAULT)
    """The module of a library's network whose output is its attention planes; without it timm's own last features, or
    the last planes before torchvision's pooling that no norm has scaled. ``cxr models NAME --taps`` lists all."""
    image_size: int | None = field(default=None, metadata=OMIT_DEFAULT)
    """Side of the images that a library's network is laid out for, as the positions of a vision transformer: filled
    in from ``data.image_size``."""

    def __post_init__(self) -> None:
        """Refuse unknown names, and scopes that the network does not have."""
        check_network(self.name, self.scope)
        check_choice("network.frozen_bn", self.frozen_bn, Literal["update", "eval"])
        if is_library(self.name):
            check(not self.head_relu, f"network.head_relu is DenseNet-40's; {self.name} has none")
            readable = self.tap is None or (MODULES.fullmatch(self.tap) is not None and "+" not in self.tap)
            check(readable, f"network.tap = {self.tap!r}: expected the name of a module, as layer4")
            check_image_size("network.image_size", self.image_size)
        else:
            given = next((key for key in ("tap", "image_size") if getattr(self, key) is not None), None)
            check(given is None, f"network.{given} is for torchvision/NAME and timm/NAME; {self.name} has its own")


@dataclass(frozen=True, kw_only=True)
class Weights(KnownKeysOnly):
    """Where weights come from: torchvision's ImageNet file, a run of ours, a torchxrayvision file, or a draw."""

    kind: WeightsKind = "imagenet"
    """``imagenet`` (IMAGENET1K_V1; of timm's networks the weights of the tag in their name), ``run`` (the best
    checkpoint of ``run``), ``xrv`` (the torchxrayvision DenseNet ``name``), or ``none`` (random)."""
    run: RunConfig | None = None
    """The run whose weights are used when kind is ``run``."""
    name: XrvName | None = field(default=None, metadata=OMIT_DEFAULT)
    """torchxrayvision's name of the weights when kind is ``xrv``; it decides what the outputs mean."""
    sha256: str | None = field(default=None, metadata=OMIT_DEFAULT)
    """Hash of those weights' tensors (``weights_hash``), whatever file they are in. A config file may say ``file``
    instead: the hash is computed when it is read, so that a run's identity never depends on a path."""
    network: NetworkConfig | None = field(default=None, metadata=OMIT_DEFAULT)
    """The library's network that teaches when kind is ``imagenet`` or ``none``; without it that is DenseNet-121."""

    def __post_init__(self) -> None:
        """Each kind has its own fields, and no others."""
        check_choice("kind", self.kind, WeightsKind)
        check((self.run is not None) == (self.kind == "run"), "a run is given exactly when kind = 'run'")
        names = f"which weights of torchxrayvision: {', '.join(get_args(XrvName))}"
        given = (("name", self.name, names), ("file", self.sha256, "their .pt file of torchxrayvision"))
        for key, value, says in given:
            check(value is not None or self.kind != "xrv", f"kind = 'xrv' needs {key} ({says})")
            check(value is None or self.kind == "xrv", f"{key} is for kind = 'xrv', not {self.kind!r}")
        if self.name is not None:
            check_choice("name", self.name, XrvName)
        if self.sha256 is not None:
            check(re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None, "sha256 must be 64 lower-case hex digits")
        if self.network is not None:
            by_kind, name = self.kind in ("imagenet", "none"), self.network.name
            check(by_kind, f"a network is given when kind = 'imagenet' or 'none', not {self.kind!r}")
            check(is_library(name), f"network.name = {name!r}; expected torchvision/NAME or timm/NAME")

    @property
    def teaching_network(self) -> NetworkConfig:
        """The network that these weights are a teacher's of."""
        if self.run is not None:
            return self.run.network
        return self.network or NetworkConfig(name="densenet121")

    @property
    def source(self) -> str:
        """Short name for tables: imagenet, none, the dataset of the run, or torchxrayvision's as ``xrv-mimic_ch``.

        Where a teacher's network is given it is a part of it: ``imagenet-timm-resnet18``.
        """
        if self.name is not None:
            return f"xrv-{self.name.removeprefix(XRV_PREFIX)}"
        if self.network is not None:
            return f"{self.kind}-{NETWORKS[self.network.name].short_name}"
        return self.kind if self.run is None else self.run.data.dataset


class Objective(Protocol):
    """What every objective's config says, a frozen dataclass; ``method`` names its table of keys in a file."""

    @property
    def method(self) -> str:
        """Name in config files, a field with a Literal of one value."""

    @property
    def tag(self) -> str:
        """Name in run names."""

    @property
    def teacher(self) -> Weights | None:
        """The frozen network that the student learns from; None without one."""

    @property
    def weight(self) -> float | None:
        """Weight of the transfer loss; None without one, or when it is given by other fields."""

    @property
    def needs(self) -> tuple[RunConfig, ...]:
        """The runs whose files the objective reads."""


@register_objective(title="Transfer learning", builder="harness.objectives.supervised:build")
@dataclass(frozen=True, kw_only=True)
class TransferLearning(KnownKeysOnly):
    """Cross-entropy alone, from initial weights: the first term of the paper's equation (1)."""

    tag: ClassVar[str] = "tl"
    teacher: ClassVar[None] = None
    weight: ClassVar[None] = None

    method: Literal["transfer_learning"] = "transfer_learning"

    @property
    def needs(self) -> tuple[RunConfig, ...]:
        """No run but that of the initial weights, which is not the objective's."""
        return ()


@dataclass(frozen=True, kw_only=True)
class TeacherObjective(KnownKeysOnly):
    """Base of all methods that add the weighted loss between student and frozen teacher to the cross-entropy.

    A subclass adds its ``tag`` (for run names), a field ``method`` and a field ``weight``.
    """

    tag: ClassVar[str]

    teacher: Weights
    """The frozen network that the student learns from."""

    @property
    def pairs_planes(self) -> bool:
        """Whether planes of student and teacher pair by index, so that both must have equally many of one size."""
        return not getattr(self, "project", False)

    def __post_init__(self) -> None:
        """Refuse a weight or temperature out of range, where the method has one."""
        check_not_negative("objective.weight", getattr(self, "weight", None), "; 0 switches the transfer loss off")
        check_positive("objective.temperature", getattr(self, "temperature", None))

    @property
    def needs(self) -> tuple[RunConfig, ...]:
        """The runs whose files the objective reads: the teacher's, if it is one of ours."""
        return () if self.teacher.run is None else (self.teacher.run,)


@dataclass(frozen=True, kw_only=True)
class BetaSearch(KnownKeysOnly):
    """A search over beta on the validation split, with one seed; the winner is used wherever this is referred to."""

    template: RunConfig
    """An attention-transfer run; its own beta is replaced by each point in turn."""
    points: tuple[float, ...]
    """The betas tried; the highest best validation AUROC wins, the smaller beta on a tie."""
    pruner: Pruner = field(default="none", metadata=OMIT_DEFAULT)
    """``none`` trains every point to the end; ``halving`` stops the worse ones early, by successive halving."""
    min_resource: int | None = field(default=None, metadata=OMIT_DEFAULT)
    """Epochs of the first rung under ``halving``; None leaves one point for the last rung."""
    reduction_factor: int = field(default=2, metadata=OMIT_DEFAULT)
    """After each rung one of so many points goes on, at least one, to so many times the epochs."""
    rung: int | None = field(default=None, metadata=OMIT_DEFAULT)
    """Of a run of the search itself, from 1: it goes on with the run of place ``rank`` of the rung before."""
    rank: int = field(default=0, metadata=OMIT_DEFAULT)
    """Place by validation AUROC, from 0."""

    def __post_init__(self) -> None:
        """The template must have a beta to replace, and rungs must end with a validation."""
        check(len(self.points) > 0, "a beta search needs at least one point")
        for point in self.points:
            check_positive("each of a beta search's points", point)
        check(isinstance(self.template.objective, AttentionTransfer), "a beta search needs attention transfer")
        check_choice("a beta search's pruner", self.pruner, Pruner)
        if self.pruner == "none":
            bare = (self.min_resource, self.reduction_factor, self.rung, self.rank) == (None, 2, None, 0)
            check(bare, "a beta search's min_resource and reduction_factor need pruner = 'halving'")
            return
        schedule = self.template.schedule
        check(len(set(self.points)) == len(self.points), "a beta search by halving has a point twice")
        check(self.template.objective.weight is None, "a beta search by halving needs a template without a weight")
        check(schedule.stop_after is None, "a beta search by halving decides schedule.stop_after itself")
        check_count("a beta search's min_resource", self.min_resource)
        check_count("a beta search's reduction_factor", self.reduction_factor)
        check(self.reduction_factor >= 2, "a beta search's reduction_factor must be at least 2")
        check(
            (self.min_resource or 0) < schedule.epochs and (self.min_resource or 0) % schedule.validate_every == 0,
            f"a beta search's min_resource = {self.min_resource} must be below schedule.epochs = {schedule.epochs}, "
            f"and a multiple of schedule.validate_every = {schedule.validate_every}",
        )
        if self.rung is not None:
            known = 1 <= self.rung < len(self.rungs) and 0 <= self.rank < self.rungs[self.rung].size
            check(known, f"a beta search has no rung {self.rung} with a rank {self.rank}")

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """The parts in which points are trained: one without a pruner."""
        count, schedule = len(self.points), self.template.schedule
        if self.pruner == "none":
            return (Rung(count, schedule.last_epoch),)
        return rungs_of(count, schedule, self.min_resource, self.reduction_factor)

    @cached_property
    def runs(self) -> tuple[RunConfig, ...]:
        """The runs that decide: those of the last rung, or for a run of the search of the rung before it."""
        return self.runs_of(len(self.rungs) - 1 if self.rung is None else self.rung - 1)

    def runs_of(self, rung: int) -> tuple[RunConfig, ...]:
        """Runs of a rung, from 0: one for each point in their order, later one for each rank."""
        objective, schedule = self.template.objective, self.template.schedule
        assert isinstance(objective, AttentionTransfer)
        if rung < len(self.rungs) - 1:
            schedule = dataclasses.replace(schedule, stop_after=self.rungs[rung].end)
        betas: tuple[float | BetaSearch, ...] = self.points
        if rung > 0:
            ranks = range(self.rungs[rung].size)
            betas = tuple(dataclasses.replace(self, rung=rung, rank=rank) for rank in ranks)
        return tuple(
            dataclasses.replace(self.template, schedule=schedule, objective=dataclasses.replace(objective, beta=beta))
            for beta in betas
        )

    @property
    def full(self) -> BetaSearch:
        """The search of the same points without a pruner."""
        return BetaSearch(template=self.template, points=self.points)

    def named_runs(self) -> dict[str, RunConfig]:
        """All runs of the search, by words that tell them apart: ``beta2``, or with rungs ``rung1_rank0``."""
        last = "" if len(self.rungs) == 1 else "rung0_"
        first = zip(self.points, self.runs_of(0), strict=True)
        named = {f"{last}beta{beta:g}": run for beta, run in first}
        for rung in range(1, len(self.rungs)):
            named |= {f"rung{rung}_rank{rank}": run for rank, run in enumerate(self.runs_of(rung))}
        return named


@register_objective(title="Attention transfer", builder="harness.objectives.attention_transfer:build")
@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(TeacherObjective):
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
    project: bool = field(default=False, metadata=OMIT_DEFAULT)
    """Compare the student's planes through a 1x1 convolution to the teacher's number, which is trained along; larger
    planes are averaged to the size of the smaller."""

    @property
    def pairs_planes(self) -> bool:
        """Maps of ``original_at`` are one for each image, whatever the number of planes."""
        return super().pairs_planes and self.form != "original_at"

    def __post_init__(self) -> None:
        """Refuse values that have no canonical weight."""
        super().__post_init__()
        check_choice("objective.beta_role", self.beta_role, BetaRole)
        check_choice("objective.form", self.form, AttentionForm)
        if not isinstance(self.beta, BetaSearch):
            check_positive("objective.beta", self.beta, "; weight = 0 switches the attention loss off")

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
    def needs(self) -> tuple[RunConfig, ...]:
        """The teacher's run and those of the beta search."""
        return (*super().needs, *(self.beta.runs if isinstance(self.beta, BetaSearch) else ()))


@register_objective(title="Logit distillation", builder="harness.objectives.logit_distillation:build")
@dataclass(frozen=True, kw_only=True)
class LogitDistillation(TeacherObjective):
    """Cross-entropy plus the teacher's softened outputs as further targets, on the labels that both have by name."""

    tag: ClassVar[str] = "kd"
    pairs_planes: ClassVar[bool] = False
    """It compares no planes."""

    method: Literal["logit_distillation"] = "logit_distillation"
    weight: float = 1.0
    """Weight of the distillation loss."""
    temperature: float = 2.0
    """Logits of both are divided by it; above 1 the teacher's targets are softer."""

    def __post_init__(self) -> None:
        """A teacher without labels of chest X-rays has no outputs to learn from."""
        super().__post_init__()
        check(
            self.teacher.kind in ("run", "xrv"),
            f"logit distillation needs a teacher with labels (kind = 'run' or 'xrv'), not {self.teacher.kind!r}",
        )


@register_objective(title="FitNet hints", builder="harness.objectives.fitnet:build")
@dataclass(frozen=True, kw_only=True)
class FitNet(TeacherObjective):
    """Cross-entropy plus the squared error of the student's planes, through a learned 1x1 convolution (hints)."""

    tag: ClassVar[str] = "fitnet"
    pairs_planes: ClassVar[bool] = False
    """Its convolution takes any number to any other."""

    method: Literal["fitnet"] = "fitnet"
    weight: float = 1.0
    """Weight of the hint loss."""


@register_objective(title="Relational distillation", builder="harness.objectives.relational:build")
@dataclass(frozen=True, kw_only=True)
class Relational(TeacherObjective):
    """Cross-entropy plus the difference of distances and angles between the images of a batch (RKD)."""

    tag: ClassVar[str] = "rkd"
    pairs_planes: ClassVar[bool] = False
    """It compares distances and angles, whatever the number of values behind them."""

    method: Literal["relational"] = "relational"
    weight: float = 1.0
    """Weight of the whole relational loss."""
    distance: float = 1.0
    """Share of the distance-wise loss; 0 leaves it out."""
    angle: float = 2.0
    """Share of the angle-wise loss, twice the other one as in the source; 0 leaves it out."""
    embedding: Embedding = "pooled"
    """An image as ``pooled``: the means of its planes at the tap; as ``planes``: all values of these planes."""

    def __post_init__(self) -> None:
        """At least one of the two losses must count."""
        super().__post_init__()
        check_choice("objective.embedding", self.embedding, Embedding)
        check_not_negative("objective.distance", self.distance)
        check_not_negative("objective.angle", self.angle)
        check(self.distance + self.angle > 0.0, "objective.distance and objective.angle must not both be 0")


@register_objective(title="Channel-wise distillation", builder="harness.objectives.channel_wise:build")
@dataclass(frozen=True, kw_only=True)
class ChannelWise(TeacherObjective):
    """Cross-entropy plus the divergence of planes taken as distributions over positions."""

    tag: ClassVar[str] = "cwd"

    method: Literal["channel_wise"] = "channel_wise"
    weight: float = 1.0
    """Weight of the channel-wise loss."""
    temperature: float = 4.0
    """Activations are divided by it before the softmax over positions; 4 as in the source."""
    project: bool = field(default=False, metadata=OMIT_DEFAULT)
    """As in attention transfer: compare through a trained 1x1 convolution."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(KnownKeysOnly):
    """Everything that decides a run's numbers. Placement and speed live in ``RuntimeConfig``."""

    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    init: Weights = field(default_factory=Weights)
    objective: Annotated[Objective, OneOfTheRegistered()] = field(default_factory=TransferLearning)
    schedule: Schedule = field(default_factory=Schedule)
    seed: int = 0
    """Decides random weights, the order of images and their augmentation; split and subset stay as they are."""
    loss: LossOptions = field(default=LossOptions(), metadata=OMIT_DEFAULT)
    """How targets enter the cross-entropy of training."""

    def __post_init__(self) -> None:
        """A run that cannot teach is refused as a teacher: by a plan, not hours later by the first student."""
        check(0 <= self.seed < 2**63, "seed must lie in 0..2**63 - 1")
        check(self.init.network is None, "init.network: initial weights are those of the run's own network")
        object.__setattr__(self, "network", self._laid_out(self.network))
        teacher = self.objective.teacher
        if teacher is not None and teacher.network is not None:
            teacher = dataclasses.replace(teacher, network=self._laid_out(teacher.network))
            object.__setattr__(self, "objective", dataclasses.replace(self.objective, teacher=teacher))  # type: ignore[type-var]
        run = None if teacher is None else teacher.run
        if run is not None and not NETWORKS[run.network.name].can_teach:
            known = (name for name, entry in NETWORKS.items() if entry.can_teach)
            able = " or ".join((*known, "network of torchvision or timm"))
            raise ValueError(
                f"objective.teacher: run {run.run_id} is a {run.network.name}; a teacher must be a {able}"
            )

    def _laid_out(self, network: NetworkConfig) -> NetworkConfig:
        """A library's network for images of the run's size; any other as it is."""
        if not is_library(network.name):
            return network
        size = self.data.image_size
        words = f"network.image_size = {network.image_size}, but data.image_size = {size}; leave the former out"
        check(network.image_size in (None, size), words)
        return dataclasses.replace(network, image_size=size)

    @property
    def hash(self) -> str:
        """SHA-256 of the whole config and the schema version."""
        text = f'{{"config": {as_json_text(self, sort_keys=True)}, "schema": {SCHEMA_VERSION}}}'
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Readable name: dataset, subset, init, method, network, seed."""
        net = NETWORKS[self.network.name].short_name
        scope = "" if self.network.scope == "all" else f"_{self.network.scope}"
        method = self.objective.tag
        if self.objective.teacher is not None:
            method = f"{method}-{self.objective.teacher.source.removesuffix('_cxr')}"
        return f"{self.data.dataset}_{self.data.subset}_{self.init.source}_{method}_{net}{scope}_s{self.seed}"

    @cached_property
    def run_id(self) -> str:
        """Name of the run folder: the readable name and the start of the hash."""
        return f"{self.name}-{self.hash[:10]}"

    @property
    def promotion(self) -> BetaSearch | None:
        """The search by halving of which this run is a later rung, and so goes on with another run's checkpoint."""
        beta = self.objective.beta if isinstance(self.objective, AttentionTransfer) else None
        return beta if isinstance(beta, BetaSearch) and beta.rung is not None else None

    @property
    def first_epoch(self) -> int:
        """Epochs that another run has done for it."""
        search = self.promotion
        return 0 if search is None or search.rung is None else search.rungs[search.rung - 1].end

    @cached_property
    def needs(self) -> tuple[RunConfig, ...]:
        """The runs whose files this run reads: initial weights, teacher, beta search; each once."""
        initial = () if self.init.run is None else (self.init.run,)
        return tuple({run.run_id: run for run in (*initial, *self.objective.needs)}.values())
