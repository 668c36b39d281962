"""Initial weights: a network and a ``Weights`` config come in; the network leaves with them, and a sentence too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.errors import InputError
from harness.config import NETWORKS, NetworkConfig, Weights
from harness.networks import Network, draw_weights
from harness.runs.runtime import FolderOf
from harness.weights.imagenet import read_imagenet
from harness.weights.weight_files import SourceWeights, read_run
from harness.weights.xrv import for_three_channels, read_xrv


def initialise(
    network: Network,
    config: Weights,
    *,
    folder_of: FolderOf,
    imagenet_weights: Path | None,
    seed: int,
    xrv_weights: Sequence[Path] = (),
) -> str:
    """Set every weight of ``network``; return where they are from.

    The classifier is always random: heads of other label sets have the same shape and would fit without a word.
    Random weights are a function of ``seed`` and the layer's name alone. ``imagenet_weights`` is the path of
    torchvision's file; without it torchvision's cache or download is used. ``xrv_weights`` are torchxrayvision files,
    of which the config's is found by its hash.

    Raises:
        InputError: when the weights are not there, are damaged, or belong to a network that does not fit.
    """
    if config.kind == "none":
        warn_random("the network starts from random weights")
        draw_weights(network, seed)
        return f"random weights of seed {seed}"
    source = read_source(config, folder_of=folder_of, imagenet_weights=imagenet_weights, xrv_weights=xrv_weights)
    _check_fits(network, source)
    draw_weights(network, seed)
    part = _load_shared(network, source)
    return f"{part} from {source.origin}; the rest random with seed {seed}"


def read_source(
    config: Weights, *, folder_of: FolderOf, imagenet_weights: Path | None, xrv_weights: Sequence[Path] = ()
) -> SourceWeights:
    """The tensors, for a network of ours, that a config of kind ``imagenet``, ``run`` or ``xrv`` names."""
    if config.kind == "xrv":
        found = read_xrv(config, xrv_weights)
        return SourceWeights(
            NetworkConfig(name="densenet121"), for_three_channels(found.tensors), found.origin, found.labels
        )
    return read_imagenet(imagenet_weights) if config.run is None else read_run(config.run, folder_of)


def warn_random(what: str) -> None:
    """Say on standard error that nothing was learned before."""
    print(f"WARNING: {what} (kind = 'none'): nothing was learned from any data", file=sys.stderr, flush=True)


def _check_fits(network: Network, source: SourceWeights) -> None:
    own, other = network.config, source.network
    able = (own.name, *NETWORKS[own.name].starts_from)
    if other.name not in able:
        raise InputError(f"{source.origin} is a {other.name}; a {own.name} starts from a {' or '.join(able)} only")
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
