"""Load a teacher: a frozen network in eval mode, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.errors import InputError
from harness.config import NETWORKS, NetworkConfig, Weights
from harness.networks import TEACHER_SEED, Network, build_network, draw_weights
from harness.networks.xrv_densenet121 import XrvDenseNet121
from harness.runs.messages import note
from harness.runs.runtime import FolderOf
from harness.weights.initialise import read_source, warn_random
from harness.weights.xrv import read_xrv


class Teacher(NamedTuple):
    """A frozen network and what its outputs mean."""

    network: Network
    labels: tuple[str, ...] | None
    """Names of its outputs, '' for one without; None when they are no labels of ours, as ImageNet's."""
    origin: str
    """For a message."""


def load_teacher(
    config: Weights, *, folder_of: FolderOf, imagenet_weights: Path | None, xrv_weights: Sequence[Path] = ()
) -> Network:
    """The network of ``read_teacher``."""
    return read_teacher(
        config, folder_of=folder_of, imagenet_weights=imagenet_weights, xrv_weights=xrv_weights
    ).network


def read_teacher(
    config: Weights, *, folder_of: FolderOf, imagenet_weights: Path | None, xrv_weights: Sequence[Path] = ()
) -> Teacher:
    """The whole network that the config names, its head too, on the CPU; nothing of it is ever trained.

    Kind ``imagenet`` is torchvision's network as it is; ``run`` the best checkpoint of one of our runs; ``xrv``
    torchxrayvision's network, which turns our images into its own; ``none`` a random network, of use in tests alone,
    with a loud warning.

    Raises:
        InputError: when the weights are not there or damaged, or the run's network cannot teach.
    """
    if config.run is not None and not NETWORKS[config.run.network.name].can_teach:
        able = " or ".join(name for name, entry in NETWORKS.items() if entry.can_teach)
        raise InputError(f"run {config.run.run_id} is a {config.run.network.name}; a teacher must be a {able}")
    if config.kind == "none":
        warn_random("the teacher has random weights")
        network = build_network(NetworkConfig(name="densenet121"), num_outputs=1)
        draw_weights(network, TEACHER_SEED)
        teacher = Teacher(network, None, "a random teacher")
    elif config.kind == "xrv":
        teacher = _xrv_teacher(config, xrv_weights)
    else:
        source = read_source(config, folder_of=folder_of, imagenet_weights=imagenet_weights)
        network = build_network(source.network, source.num_outputs)
        network.load_state_dict(source.tensors)
        teacher = Teacher(network, source.labels, source.origin)
    teacher.network.requires_grad_(False).eval()
    return teacher


def _xrv_teacher(config: Weights, files: Sequence[Path]) -> Teacher:
    found = read_xrv(config, files)
    note(f"note: the teacher is {found.adaptation}")
    network = XrvDenseNet121()
    network.load_state_dict(found.tensors)
    return Teacher(network, found.labels, found.origin)
