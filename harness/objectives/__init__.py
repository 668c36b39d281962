"""Build the objective of a run: the losses that its training minimises.

An objective is a value that the training loop calls; which method it is makes no difference to the loop. Each method
is one file: its loss, its objective, and ``build``, which makes the objective of a config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from harness.config import OBJECTIVES
from harness.config import Objective as ObjectiveConfig
from harness.objectives.attention_transfer import AttentionTransferObjective
from harness.objectives.base import Losses, Objective, Sources
from harness.objectives.channel_wise import ChannelWiseObjective
from harness.objectives.fitnet import FitNetObjective
from harness.objectives.logit_distillation import LogitDistillationObjective
from harness.objectives.relational import RelationalObjective
from harness.objectives.supervised import SupervisedObjective
from harness.runs.runtime import FolderOf

__all__ = [
    "AttentionTransferObjective",
    "ChannelWiseObjective",
    "FitNetObjective",
    "LogitDistillationObjective",
    "Losses",
    "Objective",
    "RelationalObjective",
    "Sources",
    "SupervisedObjective",
    "build_objective",
]


def build_objective(
    config: ObjectiveConfig,
    *,
    weight: float | None,
    folder_of: FolderOf,
    imagenet_weights: Path | None,
    device: torch.device,
    labels: Sequence[str] = (),
    xrv_weights: Sequence[Path] = (),
) -> Objective:
    """The objective of a run, its teacher (if any) loaded, frozen and on ``device``.

    Args:
        config: which method, and with which teacher.
        weight: the weight that a beta search chose; None takes the config's own.
        folder_of: where runs of ours lie.
        imagenet_weights: torchvision's file; None takes torchvision's cache or download.
        device: where the student is.
        labels: names of the student's outputs, in order; logit distillation alone needs them.
        xrv_weights: torchxrayvision files, of which the config's is found by its hash.

    Raises:
        InputError: when the teacher's weights are not there or do not fit, or its labels are none of the student's.
        ValueError: when ``weight`` is None and the config's beta is a search.
    """
    sources = Sources(
        weight=weight,
        labels=tuple(labels),
        folder_of=folder_of,
        imagenet_weights=imagenet_weights,
        xrv_weights=tuple(xrv_weights),
        device=device,
    )
    built: Objective = OBJECTIVES[config.method].load()(config, sources)
    return built
