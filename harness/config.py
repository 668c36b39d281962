"""What a run computes: one frozen ``RunConfig``, hashed whole; its hash names the run folder.

Enters: values from a TOML or JSON file or a grid. Leaves: validated dataclasses, their canonical JSON, the run id,
and the runs that a run needs. Nothing here imports torch, so planning a grid stays fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from datasets.errors import InputError
from harness.checks import OMIT_IF_FALSE, STRICT, check, check_choice
from harness.objective_config import AttentionForm as AttentionForm
from harness.objective_config import AttentionTransfer as AttentionTransfer
from harness.objective_config import BetaRole as BetaRole
from harness.objective_config import BetaSearch as BetaSearch
from harness.objective_config import ChannelWise as ChannelWise
from harness.objective_config import Embedding as Embedding
from harness.objective_config import FitNet as FitNet
from harness.objective_config import LogitDistillation as LogitDistillation
from harness.objective_config import Objective as Objective
from harness.objective_config import Relational as Relational
from harness.objective_config import TransferLearning as TransferLearning
from harness.schedule_config import SCHEDULE_PRESETS as SCHEDULE_PRESETS
from harness.schedule_config import Schedule as Schedule
from harness.schedule_config import chexclusion as chexclusion
from harness.weights_config import Weights as Weights

SCHEMA_VERSION = 1
"""Enters every run's hash; raised when the meaning of a field changes, so that old results are not reused."""

DatasetName = Literal["chexpert", "chestxray14", "chestxray14_5.6k", "mimic_cxr"]
NetworkName = Literal["densenet121", "densenet40"]
Scope = Literal["all", "last34"]


def parse_subset(subset: str) -> int | None:
    """Number of training images that a subset name stands for: ``1k`` is 1,000, ``full`` is None."""
    if subset == "full":
        return None
    match = re.fullmatch(r"([1-9]\d*)(k?)", subset)
    if match is None:
        raise ValueError(f"subset = {subset!r} is unknown; use full or a count such as 1k, 5k, 50k or 200")
    return int(match[1]) * (1000 if match[2] else 1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are augmented while training."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    dataset: DatasetName
    """Name of the dataset; its beton is looked up by this name."""
    subset: str = "full"
    """``full`` or a number of training images: 1k, 5k, 50k, 200. Subsets are nested."""
    image_size: int = 256
    """Side of the square image in pixels; must equal the beton's."""
    rotation_deg: float = 15.0
    """Training images are rotated by an angle uniform in plus or minus this many degrees."""
    flip_probability: float = 0.5
    """Probability of a horizontal flip of a training image."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        check_choice("data.dataset", self.dataset, DatasetName)
        parse_subset(self.subset)
        check(self.image_size >= 32 and self.image_size % 32 == 0, "data.image_size must be a multiple of 32")
        check(0.0 <= self.rotation_deg <= 180.0, "data.rotation_deg must lie in 0..180")
        check(0.0 <= self.flip_probability <= 1.0, "data.flip_probability must lie in 0..1")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The student (or teacher in training): architecture and which parameters are trained."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: NetworkName = "densenet121"
    """densenet121, or densenet40 of the paper's Table 4."""
    scope: Scope = "all"
    """``all`` parameters, or ``last34``: transition3, denseblock4, norm5 and classifier of DenseNet-121."""
    head_relu: bool = False
    """A ReLU between the two 1x1 convolutions of DenseNet-40; Table 4 lists none."""
    frozen_bn: Literal["update", "eval"] = "update"
    """Whether batch norms outside the scope go on updating their statistics (PyTorch's default)."""

    sync_bn: bool = field(default=False, metadata=OMIT_IF_FALSE)
    """Batch norm statistics of a training step over all processes together, instead of each process's own share."""

    def __post_init__(self) -> None:
        """Refuse unknown names and the one impossible pair."""
        check_choice("network.name", self.name, NetworkName)
        check_choice("network.scope", self.scope, Scope)
        check_choice("network.frozen_bn", self.frozen_bn, Literal["update", "eval"])
        check(self.scope == "all" or self.name == "densenet121", "network.scope = last34 needs densenet121")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's numbers. Placement and speed live in ``RuntimeConfig``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    init: Weights = field(default_factory=Weights)
    objective: Annotated[Objective, Field(discriminator="method")] = field(default_factory=TransferLearning)
    schedule: Schedule = field(default_factory=Schedule)
    seed: int = 0
    """Decides random weights, the order of images and their augmentation; split and subset stay as they are."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the whole config and the schema version."""
        payload = {"schema": SCHEMA_VERSION, "config": to_dict(self)}
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()

    @cached_property
    def name(self) -> str:
        """Readable name: dataset, subset, init, method, network, seed."""
        net = {"densenet121": "d121", "densenet40": "d40"}[self.network.name]
        scope = "" if self.network.scope == "all" else f"_{self.network.scope}"
        method = self.objective.tag
        if self.objective.teacher is not None:
            method = f"{method}-{self.objective.teacher.source.removesuffix('_cxr')}"
        return f"{self.data.dataset}_{self.data.subset}_{self.init.source}_{method}_{net}{scope}_s{self.seed}"

    @cached_property
    def run_id(self) -> str:
        """Name of the run folder: the readable name and the start of the hash."""
        return f"{self.name}-{self.hash[:10]}"

    @cached_property
    def needs(self) -> tuple[RunConfig, ...]:
        """The runs whose files this run reads: initial weights, teacher, beta search; each once."""
        initial = () if self.init.run is None else (self.init.run,)
        return tuple({run.run_id: run for run in (*initial, *self.objective.needs)}.values())


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, every field written out but for what ``OMIT_IF_NONE`` and its like say."""
    result: dict[str, Any] = json.loads(json.dumps(_plain(config)))
    return result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        items = [(item, getattr(value, item.name)) for item in dataclasses.fields(value)]
        return {
            item.name: _plain(inner)
            for item, inner in items
            if not (inner is None and item.metadata.get("omit_if_none"))
            and not (inner is False and item.metadata.get("omit_if_false"))
        }
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@cache
def _adapter() -> Any:
    return TypeAdapter(RunConfig)


def from_dict(values: dict[str, Any], *, where: str) -> RunConfig:
    """Validate plain values; ``where`` names their file in the error.

    Raises:
        InputError: for an unknown key or a value out of range, naming key, value and what is known.
    """
    try:
        config: RunConfig = _adapter().validate_python(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(where, item) for item in error.errors())) from None
    return config


def _explain(where: str, item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "unexpected_keyword_argument":
        # The innermost part before the key that names a table; RunConfig where there is none.
        owner = _OWNERS.get(location[-2], RunConfig) if len(location) > 1 else RunConfig
        known = ", ".join(f.name for f in dataclasses.fields(owner))
        message = f"unknown key; known keys: {known}"
    return f"{where}: {'.'.join(location)}: {message}"


_OWNERS: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "init": Weights,
    "teacher": Weights,
    "schedule": Schedule,
    "BetaSearch": BetaSearch,
    **{str(objective.method): objective for objective in get_args(Objective)},
}
"""The dataclass of each table that a config file may hold, as pydantic names it in the place of an error."""
