"""Configs of a run: what it computes, validated, hashed and read from files."""

from harness.config.checks import to_dict
from harness.config.loss import LossOptions
from harness.config.networks import NETWORKS, NetworkEntry, Scope
from harness.config.objectives import OBJECTIVES, ObjectiveEntry, register_objective
from harness.config.parse import from_dict
from harness.config.run import (
    SCHEMA_VERSION,
    AttentionForm,
    AttentionTransfer,
    BetaRole,
    BetaSearch,
    ChannelWise,
    DataConfig,
    Embedding,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Objective,
    Pruner,
    Relational,
    RunConfig,
    TeacherObjective,
    TransferLearning,
    Weights,
)
from harness.config.schedule import SCHEDULE_PRESETS, Schedule, chexclusion
