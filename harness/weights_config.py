"""Where weights come from, as a config: the initial weights of a student, or the weights of a teacher."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import harness
from harness.checks import OMIT_IF_NONE, STRICT, check, check_choice
from harness.xrv_names import XRV_PREFIX, XrvName

if TYPE_CHECKING:
    # Configs contain each other. pydantic evaluates ``harness.config.RunConfig`` once both modules are loaded.
    import harness.config

WeightsKind = Literal["imagenet", "run", "xrv", "none"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where weights come from: torchvision's ImageNet file, a run of ours, a torchxrayvision file, or a draw."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    kind: WeightsKind = "imagenet"
    """``imagenet`` (IMAGENET1K_V1), ``run`` (the best checkpoint of ``run``), ``xrv`` (the torchxrayvision DenseNet
    ``name``), or ``none`` (random)."""
    run: harness.config.RunConfig | None = None
    """The run whose weights are used when kind is ``run``."""
    name: XrvName | None = field(default=None, metadata=OMIT_IF_NONE)
    """torchxrayvision's name of the weights when kind is ``xrv``; it decides what the outputs mean."""
    sha256: str | None = field(default=None, metadata=OMIT_IF_NONE)
    """Hash of those weights' tensors (``weights_hash``), whatever file they are in. A config file may say ``file``
    instead: the hash is computed when it is read, so that a run's identity never depends on a path."""

    def __post_init__(self) -> None:
        """Each kind has its own fields, and no others."""
        check_choice("kind", self.kind, WeightsKind)
        check((self.run is not None) == (self.kind == "run"), "a run is given exactly when kind = 'run'")
        for key in ("name", "sha256"):
            given = getattr(self, key) is not None
            also = " (or file, in its place)" if key == "sha256" else ""
            check(given == (self.kind == "xrv"), f"{key}{also} is given exactly when kind = 'xrv'")
        if self.name is not None:
            check_choice("name", self.name, XrvName)
        if self.sha256 is not None:
            check(re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None, "sha256 must be 64 lower-case hex digits")

    @property
    def source(self) -> str:
        """Short name for tables: imagenet, none, the dataset of the run, or torchxrayvision's as ``xrv-mimic_ch``."""
        if self.name is not None:
            return f"xrv-{self.name.removeprefix(XRV_PREFIX)}"
        return self.kind if self.run is None else self.run.data.dataset
