"""Load a teacher: a frozen network in eval mode, and what its outputs mean."""

from __future__ import annotations

import logging
from typing import NamedTuple

from harness.config import Weights
from harness.config.xrv_names import XRV_IMAGE_SIZE
from harness.networks import TEACHER_SEED, Network, construct, draw_weights
from harness.networks.xrv_densenet121 import PIXEL_RANGE, XrvDenseNet121
from harness.runs.runtime import RuntimeConfig
from harness.weights.initialise import read_source, warn_random
from harness.weights.xrv import read_xrv

logger = logging.getLogger(__name__)


class Teacher(NamedTuple):
    """A frozen network and what its outputs mean."""

    network: Network
    labels: tuple[str, ...] | None
    """Names of its outputs, '' for one without; None when they are no labels of ours, as ImageNet's."""
    origin: str
    """For a message."""


def read_teacher(config: Weights, runtime: RuntimeConfig) -> Teacher:
    """The whole network that the config names, its head too, on the CPU; nothing of it is ever trained.

    Kind ``imagenet`` is torchvision's DenseNet-121, or the config's network, as it is published; ``run`` the best
    checkpoint of one of our runs; ``xrv`` torchxrayvision's network, which turns our images into its own; ``none`` a
    random network, of use in tests alone, with a warning.

    Raises:
        InputError: when the weights are not there or damaged.
    """
    if config.kind == "none":
        warn_random("the teacher has random weights")
        network = construct(config.teaching_network, num_outputs=1)
        draw_weights(network, TEACHER_SEED)
        teacher = Teacher(network, None, "a random teacher")
    elif config.kind == "xrv":
        found = read_xrv(config, runtime.xrv_weights)
        logger.info(
            f"the teacher is {found.origin}: its one input channel gets the gray image in ±{PIXEL_RANGE:.0f}; it was "
            f"trained on {XRV_IMAGE_SIZE} px and sees the run's image size; its labels: "
            f"{', '.join(label for label in found.labels or () if label)}"
        )
        network = XrvDenseNet121()
        network.load_state_dict(found.tensors)
        teacher = Teacher(network, found.labels, found.origin)
    else:
        source = read_source(config, runtime, config.teaching_network)
        teacher = Teacher(source.build(), source.labels, source.origin)
    teacher.network.requires_grad_(False).eval()
    return teacher
