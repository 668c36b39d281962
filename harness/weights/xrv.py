"""Read torchxrayvision's weights, checked, with the labels of their outputs.

torchxrayvision publishes its DenseNets as pickled models. To read such a file is to run whatever code is in it, so it
is refused here; a file of tensors (a saved state dict, or safetensors) is made from it once, by the user, with the
line that the refusal spells out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from datasets.errors import InputError
from harness.config import NetworkConfig, Weights
from harness.config.xrv_names import xrv_labels
from harness.networks.xrv_densenet121 import PIXEL_RANGE, XrvDenseNet121
from harness.runs.checkpoint import Tensors, weights_hash
from harness.weights.weight_files import SourceWeights, compare_tensors, read_tensors, with_counters


def read_xrv(config: Weights, files: Sequence[Path]) -> SourceWeights:
    """The weights that a config of kind ``xrv`` names, from the one of ``files`` that holds them, for one channel.

    Raises:
        InputError: when a file cannot be read, or none of them holds these weights.
    """
    assert config.name is not None, "a config of kind xrv has a name"
    assert config.sha256 is not None, "a config of kind xrv has a hash"
    found: list[str] = []
    for path in files:
        tensors = read_xrv_file(path)
        digest = weights_hash(tensors)
        if digest == config.sha256:
            origin = f"torchxrayvision's {config.name} ({path}, sha256 {digest[:8]})"
            return SourceWeights(NetworkConfig(name="densenet121"), tensors, origin, xrv_labels(config.name))
        found.append(f"{path} has {digest[:8]}")
    raise InputError(
        f"torchxrayvision's {config.name}: no file with tensors of sha256 {config.sha256[:8]} "
        f'({"; ".join(found) or "no file given"}); give it as [runtime] xrv_weights = ["FILE"] or --xrv-weights FILE'
    )


def read_xrv_file(path: Path) -> Tensors:
    """Tensors of a torchxrayvision DenseNet-121, from a saved state dict or a safetensors file; thresholds left out.

    Raises:
        InputError: when the file holds something else, or is a pickled model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the weights of a torchxrayvision DenseNet")
    loaded = f"torch.load({str(path)!r}, map_location='cpu', weights_only=False)"
    code = f"import torch; torch.save({loaded}.state_dict(), {str(path.with_suffix('.tensors.pt'))!r})"
    advice = (
        "reading a pickled model runs the code in it; if you trust where it is from, make a file of tensors from it, "
        f"where torchxrayvision is installed, with: python -c {shlex.quote(code)}"
    )
    tensors = with_counters(read_tensors(path, if_pickled=advice))
    tensors.pop("op_threshs", None)
    with torch.device("meta"):
        reference = XrvDenseNet121().state_dict()
    compare_tensors(tensors, reference, path, expected="the weights of a torchxrayvision DenseNet-121")
    return tensors


def xrv_hash(path: Path) -> str:
    """What a config says to name the weights in ``path``: the same for every file that holds these tensors."""
    return weights_hash(read_xrv_file(path))


def for_three_channels(tensors: Tensors) -> Tensors:
    """The same network for (B, 3, S, S) normalised images: initial weights of a DenseNet-121 of ours.

    The scale of the pixels goes into conv0 and their offset into norm0's running mean. The result equals
    torchxrayvision's network but for conv0's outermost pixels: zeros beyond the image's edge are the mean gray of
    ImageNet here and the middle of the range there.
    """
    kernel = tensors["features.conv0.weight"].double()
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    scaled = kernel * (2.0 * PIXEL_RANGE / 3.0) * std.view(1, 3, 1, 1)
    offset = kernel.sum(dim=(1, 2, 3)) * (2.0 * mean.mean() - 1.0) * PIXEL_RANGE
    shifted = tensors["features.norm0.running_mean"].double() - offset
    return {
        **tensors,
        "features.conv0.weight": scaled.float(),
        "features.norm0.running_mean": shifted.float(),
    }
