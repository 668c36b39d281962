"""Read torchvision's ImageNet weights of DenseNet-121 from a file, torchvision's cache or the network."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision.models import DenseNet121_Weights

from datasets.errors import InputError
from datasets.files import sha256_file
from harness.config import NetworkConfig
from harness.runs.checkpoint import Tensors
from harness.weights.weight_files import SourceWeights, check_tensors, one_line, read_tensors, with_counters

DOWNLOAD_TIMEOUT_S = 30.0
_OLD_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Names in torchvision's file: ``denselayer1.norm.1.weight`` is today's ``denselayer1.norm1.weight``."""


def read_imagenet(path: Path | None) -> SourceWeights:
    """torchvision's DenseNet-121 IMAGENET1K_V1 from ``path``, else from torchvision's cache, else downloaded.

    ``path`` may be a PyTorch file or ``.safetensors``, with torchvision's old or new names, or a folder that holds
    torchvision's file.

    Raises:
        InputError: when there is no such file and no way to download it, or when it holds something else.
    """
    url = DenseNet121_Weights.IMAGENET1K_V1.url
    name = Path(urlparse(url).path).name
    if path is None:
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not path.exists():
            _download(url, path)
    elif path.is_dir():
        path = path / name
    if not path.exists():
        raise InputError(f"{path}: no such file; expected torchvision's {name}, to be had from {url}")
    tensors = with_counters(current_names(read_tensors(path)))
    network = NetworkConfig(name="densenet121")
    check_tensors(tensors, network, path, expected=f"torchvision's {name}")
    return SourceWeights(network, tensors, f"ImageNet weights {path} ({_identity(path, name)})")


def current_names(tensors: Tensors) -> Tensors:
    """Tensors of a DenseNet of torchvision's by the names that its modules have today."""
    return {_OLD_KEY.sub(r"\1\2", key): value for key, value in tensors.items()}


def _identity(path: Path, name: str) -> str:
    """The file's hash, and whether it is the one in the name of torchvision's file."""
    digest = sha256_file(path)
    expected = name.removesuffix(".pth").rpartition("-")[2]
    return f"sha256 {digest[:8]}" + ("" if digest.startswith(expected) else f", torchvision's own has {expected}")


def _download(url: str, destination: Path) -> None:
    try:
        # torch.hub names what it downloads on standard output, which is for results.
        with _socket_timeout(DOWNLOAD_TIMEOUT_S), redirect_stdout(sys.stderr):
            DenseNet121_Weights.IMAGENET1K_V1.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(
            f"no ImageNet weights: {destination} is absent and downloading {url} failed ({one_line(error)}); "
            f"fetch {destination.name} where there is a network and put it there, or pass --imagenet-weights FILE"
        ) from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub sets no timeout: behind a firewall that drops packets it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
