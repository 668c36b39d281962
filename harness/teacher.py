"""Teachers: a ``Weights`` config comes in; a frozen DenseNet-121 in eval mode goes out."""

from __future__ import annotations

from pathlib import Path

from datasets.errors import InputError
from harness.config import NetworkConfig, Weights
from harness.initialise import read_source, warn_random
from harness.networks import TEACHER_SEED, Network, build_network, draw_weights


def load_teacher(config: Weights, *, runs_dir: Path, imagenet_weights: Path | None) -> Network:
    """The whole network that the config names, its head too, on the CPU; nothing of it is ever trained.

    Kind ``imagenet`` is torchvision's network as it is; ``run`` the best checkpoint of a DenseNet-121 run; ``none``
    a random network, of use in tests alone, with a loud warning.

    Raises:
        InputError: when the weights are not there or damaged, or the run's network is no DenseNet-121.
    """
    if config.run is not None and config.run.network.name != "densenet121":
        raise InputError(f"run {config.run.run_id} is a {config.run.network.name}; a teacher must be a densenet121")
    if config.kind == "none":
        warn_random("the teacher has random weights")
        teacher = build_network(NetworkConfig(name="densenet121"), num_outputs=1)
        draw_weights(teacher, TEACHER_SEED)
    else:
        source = read_source(config, runs_dir=runs_dir, imagenet_weights=imagenet_weights)
        teacher = build_network(NetworkConfig(name="densenet121"), source.num_outputs)
        teacher.load_state_dict(source.tensors)
    return teacher.requires_grad_(False).eval()
