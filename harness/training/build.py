"""Build the components of a training run: network, objective and its weight, optimiser and loaders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from datasets.augment import MOST
from datasets.augment.policy import Augment
from datasets.loading.balance import balance_groups
from datasets.loading.batch import Loader
from datasets.loading.options import LoaderOptions, ShardOptions
from datasets.loading.tiers import open_tier
from harness.config import AttentionTransfer, BetaSearch, RunConfig
from harness.devices.accelerator import Accelerator, loader_threads
from harness.devices.cuda_graph import GraphMemory
from harness.evaluation.evaluate import split_loader
from harness.evaluation.forward import GraphedForward
from harness.networks import Network, trainable_parameters
from harness.objectives import Objective, Sources, build_objective
from harness.runs.beta_search import ranked
from harness.runs.runtime import FolderOf, RuntimeConfig
from harness.training.loop import TrainingComponents
from harness.training.optimizer import build_optimizer
from harness.training.parallel import Average, not_recorded, prepared, warm_up_ddp_buckets, warn_of_small_shares
from harness.training.preflight import CheckedRun
from harness.training.step import CompiledNetwork, EagerForwardBackward, ForwardBackward, GraphedForwardBackward
from harness.training.targets import BatchPreparation, positive_weights, soft_targets


@dataclass(frozen=True, kw_only=True)
class Run(CheckedRun):
    """A checked run with its device and the resolved weight of its loss."""

    accelerator: Accelerator
    weight: float | None
    """The weight of the transfer loss; None for transfer learning."""
    beta: float | None
    """The beta behind the weight, chosen by its search if it has one."""

    @property
    def owner(self) -> bool:
        """Whether this process writes the run's files."""
        return bool(self.accelerator.is_main_process)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of every safetensors file of this run."""
        return {
            "labels": json.dumps(self.beton.labels),
            "network": self.config.network.name,
            "scope": self.config.network.scope,
            "image_size": str(self.beton.image_size),
            "run_id": self.config.run_id,
            "dataset": self.config.data.dataset,
        }


def resolve_weight(config: RunConfig, folder_of: FolderOf) -> tuple[float | None, float | None]:
    """The canonical weight of a run's transfer loss and the beta behind it; None for what the run does not have."""
    objective = config.objective
    if objective.weight is not None or not isinstance(objective, AttentionTransfer):
        return objective.weight, None
    given = objective.beta
    beta = ranked(given, folder_of)[given.rank].beta if isinstance(given, BetaSearch) else given
    return objective.attention_weight(beta), beta


def build_components(run: Run, network: Network) -> TrainingComponents:
    """Build all components on the device; Accelerate prepares the student and its optimiser."""
    config, accelerator, runtime = run.config, run.accelerator, run.runtime
    network.to(device=accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sources = Sources(
        runtime=runtime,
        device=accelerator.device,
        labels=run.beton.labels,
        weight=run.weight,
        num_planes=network.num_planes,
        positive_weights=_on_device(positive_weights(config.loss, run.beton, train_indices(run)), accelerator),
    )
    objective = build_objective(config.objective, sources)
    parameters = trainable_parameters(network, config.network)
    if objective.module is not None:
        parameters += objective.module.parameters()
    train_loader = _train_loader(run)
    share = train_loader.plan.share
    student = CompiledNetwork(network, share) if runtime.compile else network
    plain_optimizer = build_optimizer(parameters, config.schedule)
    wrapped, optimizer, average = prepared(accelerator, runtime, student, objective, plain_optimizer)
    if average is None and accelerator.num_processes > 2:
        warm_up_ddp_buckets(wrapped, network, accelerator.device)
    if average is None and accelerator.device.type == "cuda" and run.owner:
        warn_of_small_shares(share, accelerator.num_processes)
    averaged = moving_average(network, config.schedule.ema_decay)
    evaluated: Any = network if averaged is None else averaged.module
    memory = GraphMemory()
    validation_indices = run.beton.indices("validation")
    return TrainingComponents(
        accelerator=accelerator,
        network=network,
        wrapped=wrapped,
        forward_backward=forward_backward(
            accelerator, wrapped, objective, train_loader.plan.sizes, runtime, memory, average
        ),
        optimizer=optimizer,
        objective=objective,
        averaged=averaged,
        validation_forward=(
            GraphedForward(evaluated, memory) if not_recorded(accelerator, runtime) is None else None
        ),
        prepare=BatchPreparation(
            table=_on_device(soft_targets(config.loss, run.beton), accelerator) if config.loss.softens else None,
            mixup=config.loss.mixup,
            seed=config.seed,
            batch_size=config.schedule.micro_batch,
        ),
        schedule=config.schedule,
        train_loader=train_loader,
        validation_loader=split_loader(accelerator, run.beton, validation_indices, runtime),
        validation_indices=validation_indices,
        labels=run.beton.labels,
        runtime=runtime,
    )


def _on_device(values: np.ndarray | None, accelerator: Accelerator) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values).to(accelerator.device)


def train_indices(run: CheckedRun) -> np.ndarray:
    """The run's training images, by their index in the beton."""
    return run.beton.indices("train", run.config.data.subset)


def forward_backward(
    accelerator: Accelerator,
    wrapped: nn.Module,
    objective: Objective,
    sizes: Sequence[int],
    runtime: RuntimeConfig,
    memory: GraphMemory | None = None,
    average: Average | None = None,
) -> ForwardBackward:
    """Choose how a step is run: as one CUDA graph where it can be recorded, else operation by operation.

    ``sizes`` are the images of an epoch's steps over all processes; ``average`` is as ``prepared`` returns it.
    """
    eager = EagerForwardBackward(accelerator=accelerator, wrapped=wrapped, objective=objective, average=average)
    if not_recorded(accelerator, runtime) is not None:
        return eager
    modules = [wrapped] if objective.module is None else [wrapped, objective.module]
    return GraphedForwardBackward(eager, modules, set(sizes), memory)


def moving_average(network: Network, decay: float | None) -> AveragedModel | None:
    """A copy of the network that follows its weights and batch norm statistics; None without a decay.

    The first step's weights are taken over whole.
    """
    if decay is None:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _train_loader(run: Run) -> Loader:
    data = run.config.data
    groups = None if data.balance is None else balance_groups(run.beton, train_indices(run), data.balance)
    options = LoaderOptions(
        batch_size=run.config.schedule.micro_batch,
        shuffle=True,
        seed=run.config.seed,
        groups=() if groups is None else tuple(groups.values()),
        augment=Augment(
            rotation_deg=data.rotation_deg,
            flip_probability=data.flip_probability,
            **{name: getattr(data, name) for name in MOST},
        ),
        augment_on=run.runtime.augment_on,
        num_workers=loader_threads(run.runtime),
        check_pages=run.runtime.check_pages,
    )
    return open_tier(
        run.beton,
        train_indices(run),
        options,
        tier=run.runtime.tier,
        shard=ShardOptions(run.accelerator.process_index, run.accelerator.num_processes),
        device=run.accelerator.device,
    )
