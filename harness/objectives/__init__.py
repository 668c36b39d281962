"""Objectives: the losses that training minimises, one file for each method.

An objective is a value that the training loop calls; which method it is makes no difference to the loop. Each file
has its loss, its objective and ``build``, which makes the objective of a config; ``harness.config.OBJECTIVES`` names
them.
"""

from __future__ import annotations

import dataclasses
import pkgutil

from datasets.errors import InputError
from harness.config import OBJECTIVES
from harness.config import Objective as ObjectiveConfig
from harness.objectives.base import (
    Losses,
    Objective,
    PlaneObjective,
    Sources,
    TransferObjective,
    masked_cross_entropy,
)
from harness.objectives.logit_distillation import LogitDistillationObjective
from harness.objectives.supervised import SupervisedObjective


def build_objective(config: ObjectiveConfig, sources: Sources) -> Objective:
    """The objective of a run, its teacher (if any) loaded, frozen and on the device of ``sources``.

    Raises:
        InputError: when the teacher's weights are not there or do not fit, its labels are none of the student's, or
            an objective from elsewhere has no ``positive_weights`` to be set.
        ValueError: when no weight is given and the config's beta is a search.
    """
    built: Objective = pkgutil.resolve_name(OBJECTIVES[config.method].builder)(config, sources)
    if sources.positive_weights is None:
        return built
    if not hasattr(built, "positive_weights"):
        raise InputError(f"loss.positive_weights: the objective {config.method} does not take them; leave them out")
    weighted: Objective = dataclasses.replace(built, positive_weights=sources.positive_weights)  # type: ignore[type-var]
    return weighted
