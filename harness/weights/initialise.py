"""Set the initial weights of a network from a file, a run of ours, torchxrayvision's weights, or a random draw."""

from __future__ import annotations

import logging
from dataclasses import replace

from datasets.errors import InputError
from harness.config import NETWORKS, NetworkConfig, Weights
from harness.config.networks import is_library
from harness.networks import Network, draw_weights
from harness.runs.runtime import RuntimeConfig
from harness.weights.imagenet import read_imagenet
from harness.weights.published import read_published
from harness.weights.weight_files import SourceWeights, read_run
from harness.weights.xrv import for_three_channels, read_xrv

logger = logging.getLogger(__name__)


def initialise(network: Network, config: Weights, runtime: RuntimeConfig, *, seed: int) -> str:
    """Set every weight of ``network``; return where they are from.

    The classifier is always random: heads of other label sets have the same shape and would load silently. Random
    weights are a function of ``seed`` and the layer's name alone. ``runtime`` tells where runs and files lie.

    Raises:
        InputError: when the weights are not there, are damaged, or belong to a network that does not fit.
    """
    if config.kind == "none":
        warn_random("the network starts from random weights")
        draw_weights(network, seed)
        return f"random weights of seed {seed}"
    source = read_source(config, runtime, network.config)
    _check_fits(network, source)
    draw_weights(network, seed)
    part = _load_shared(network, source)
    return f"{part} from {source.origin}; the rest random with seed {seed}"


def read_source(config: Weights, runtime: RuntimeConfig, network: NetworkConfig) -> SourceWeights:
    """The tensors that a config of kind ``imagenet``, ``run`` or ``xrv`` names; ``network`` may be a library's."""
    if config.kind == "xrv":
        found = read_xrv(config, runtime.xrv_weights)
        return replace(found, tensors=for_three_channels(found.tensors))
    if config.run is None and is_library(network.name):
        return read_published(network, runtime.imagenet_weights)
    if config.run is None:
        return read_imagenet(runtime.imagenet_weights)
    return read_run(config.run, runtime.folder_of(config.run))


def warn_random(what: str) -> None:
    """Warn that nothing was learned before."""
    logger.warning("%s (kind = 'none'): nothing was learned from any data", what)


def _check_fits(network: Network, source: SourceWeights) -> None:
    own, other = network.config, source.network
    able = (own.name, *NETWORKS[own.name].starts_from)
    if other.name not in able:
        raise InputError(f"{source.origin} is a {other.name}; a {own.name} starts from a {' or '.join(able)} only")
    if own.image_size != other.image_size:
        shapes = {name: value.shape for name, value in network.state_dict().items() if name.startswith("features.")}
        if any(source.tensors[name].shape != shape for name, shape in shapes.items()):
            raise InputError(
                f"{source.origin} is a {other.name} laid out for images of {other.image_size} px, this network for "
                f"{own.image_size} px; take a run with data.image_size = {own.image_size}"
            )
    if own.name == other.name and own.head_relu != other.head_relu:
        raise InputError(f"{source.origin} has head_relu = {other.head_relu}, but this network {own.head_relu}")


def _load_shared(network: Network, source: SourceWeights) -> str:
    """Copy the tensors that both networks have; return a name for them."""
    wanted = {name for name in network.state_dict() if not name.startswith("classifier.")}
    part = "all but the classifier"
    if network.config.name != source.network.name:
        wanted = {name for name in wanted if name.startswith("features.")}
        part = "the shared features (conv0 to denseblock2) alone"
    network.load_state_dict({name: source.tensors[name] for name in wanted}, strict=False)
    return part
