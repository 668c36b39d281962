"""Read the weights that torchvision and timm publish for their networks, from a file or the library's cache.

Nothing is downloaded: what is not there is named, with where to put it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch
import torchvision

from datasets.errors import InputError
from datasets.files import sha256_file
from harness.config import NetworkConfig
from harness.networks.library import (
    build_body,
    check_name,
    first_line,
    native_size,
    probe,
    published_shapes,
    timm_settings,
)
from harness.weights.imagenet import current_names
from harness.weights.weight_files import SourceWeights, compare_tensors, read_tensors, with_counters

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository of the Hugging Face hub, where timm publishes them."""
TORCHVISION_TAG = "IMAGENET1K_V1"
"""What a name without a tag means: torchvision's own default changes from version to version."""


class Published(NamedTuple):
    """Where a network's weights come from."""

    tag: str
    url: str
    files: tuple[str, ...]
    """Their names in a folder of the user's; the first one is proposed."""
    cached: tuple[Path, ...]
    """Where the library's cache would have them."""


def read_published(network: NetworkConfig, place: Path | None) -> SourceWeights:
    """The weights that the library publishes for ``network``, under our names, its classifier too.

    Args:
        network: of a library; the tag in its name, else the library's first, says which weights.
        place: the file, with the library's own names, or a folder that holds it; None looks in the library's cache.

    Raises:
        InputError: when there is no such file, or when it holds another network.
    """
    check_name(network.name)
    path = _find(network.name, place)
    tensors = read_tensors(path)
    if network.name.startswith("torchvision/"):
        tensors = with_counters(current_names(tensors))
    try:
        body = build_body(network.name, network.image_size, tensors)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        compare_tensors(tensors, published_shapes(network.name), path, expected=f"the weights of {network.name}")
        raise InputError(f"{path}: not the weights of {network.name} ({first_line(error)})") from None
    state = {f"features.{key}": value for key, value in body.network.state_dict().items()}
    head = {} if body.classifier is None else body.classifier.state_dict()
    num_features = probe(network.name, network.image_size or native_size(network.name)).num_features
    state["classifier.weight"] = head.get("weight", torch.zeros(1, num_features))
    state["classifier.bias"] = head.get("bias", torch.zeros(len(state["classifier.weight"])))
    return SourceWeights(network, state, f"{network.name} weights {path} (sha256 {sha256_file(path)[:8]})")


def _find(name: str, place: Path | None) -> Path:
    published = _timm(name) if name.startswith("timm/") else _torchvision(name)
    what, tried = f"{name}'s weights {published.tag}", published.cached
    if place is not None and not place.is_dir():
        if place.exists():
            return place
        raise InputError(f"{place}: no such file; expected {what}, to be had from {published.url}")
    if place is not None:
        tried = tuple(place / file for file in published.files)
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        put = tried[0] if place is not None else Path("DIR") / published.files[0]
        looked = place or f"the cache ({', '.join(map(str, tried))})"
        raise InputError(
            f"no file with {what} in {looked}; nothing is downloaded: fetch {published.url} elsewhere, "
            f"put it at {put} and pass --imagenet-weights {put.parent}, or the file itself"
        )
    return found


def _torchvision(name: str) -> Published:
    architecture, _, tag = name.removeprefix("torchvision/").partition(".")
    weights = torchvision.models.get_model_weights(architecture)
    chosen = weights[tag or TORCHVISION_TAG]
    file = _file_of(chosen.url)
    return Published(chosen.name, chosen.url, (file,), (_hub() / file,))


def _timm(name: str) -> Published:
    from huggingface_hub import hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    architecture, settings = name.removeprefix("timm/").partition(".")[0], timm_settings(name.removeprefix("timm/"))
    stem = f"{architecture}.{settings.tag}" if settings.tag else architecture
    files, cached, url = [f"{stem}{suffix}" for suffix in (".safetensors", ".bin", ".pth")], [], ""
    if settings.hf_hub_id:
        hub = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=settings.hf_hub_id, repo_type="model")
        wanted = (settings.hf_hub_filename,) if settings.hf_hub_filename else HUB_FILES
        kept = (try_to_load_from_cache(settings.hf_hub_id, file) for file in wanted)
        cached = [Path(path) for path in kept if isinstance(path, str)] or [hub / wanted[0]]
        url = hf_hub_url(settings.hf_hub_id, wanted[0])
    if settings.url and not settings.custom_load:
        files.append(_file_of(settings.url))
        cached.append(_hub() / files[-1])
        url = url or settings.url
    if not url:
        raise InputError(f"timm publishes no weights of {name}; take init.kind = 'none' or 'run'")
    return Published(settings.tag or "", url, tuple(files), tuple(cached))


def _file_of(url: str) -> str:
    return Path(urlparse(url).path).name


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
