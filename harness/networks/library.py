"""Build networks of torchvision and timm by name, with their own random or published weights, without a classifier.

Dropout and stochastic depth are off: a training step is a function of its batch, so a resumed run is exact.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import math
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from datasets.errors import InputError

NATIVE_SIZE = 224
"""Side of the images that torchvision's networks were made for."""
_RATES = ("p", "drop_prob")
"""Attributes that hold a probability of dropout or of leaving a block out."""


class Body(NamedTuple):
    """A library's network whose last linear layer has been taken out."""

    network: nn.Module
    """Takes (B, 3, S, S) and returns (B, F)."""
    classifier: nn.Linear | None
    """What was taken out; None where it was no single linear layer."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    """By which the library normalises its images."""
    num_prefix_tokens: int = 0
    """Tokens of a vision transformer before those of its patches."""
    last: str = ""
    """The module of the last planes, where the library names one."""


def near(word: str, known: Iterable[str]) -> str:
    """The known words that are nearest, for a message."""
    found = difflib.get_close_matches(word, list(known), n=3)
    return f"; near: {', '.join(found)}" if found else ""


def import_timm() -> ModuleType:
    """timm, where it is installed.

    Raises:
        InputError: naming the command that installs it.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError("networks of timm need the package timm: pip install 'cxr-harness[backbones]'")
    return importlib.import_module("timm")


@cache
def check_name(name: str) -> None:
    """Refuse a network, or a tag of weights, that the library does not have.

    Raises:
        InputError: with the nearest names.
    """
    library, _, model = name.partition("/")
    architecture, _, tag = model.partition(".")
    if library == "timm":
        timm = import_timm()
        known, version = timm.list_models(), timm.__version__
        tags = [other.partition(".")[2] for other in timm.models.get_arch_pretrained_cfgs(architecture)]
    else:
        known, version = torchvision.models.list_models(module=torchvision.models), torchvision.__version__
        tags = []
        if architecture in known:
            tags = [weights.name for weights in torchvision.models.get_model_weights(architecture)]
    where = f"network.name = {name!r}: {library} {version.partition('+')[0]} has no"
    if architecture not in known:
        raise InputError(f"{where} such network{near(architecture, known)}")
    if tag and tag not in tags:
        raise InputError(f"{where} weights {tag!r} of {architecture}; known: {', '.join(sorted(tags)) or 'none'}")


def native_size(name: str) -> int:
    """Side of the images that the library made the network for."""
    check_name(name)
    library, _, model = name.partition("/")
    return NATIVE_SIZE if library == "torchvision" else int(timm_settings(model).input_size[-1])


def build_body(name: str, size: int | None, tensors: dict[str, Tensor] | None = None) -> Body:
    """The network for images of ``size``, with ``tensors`` by the library's names or random weights.

    Raises:
        InputError: for a network that is not there, or whose classifier is of another kind.
        RuntimeError: of the library, for tensors of another network.
    """
    check_name(name)
    library, _, model = name.partition("/")
    build = _timm_body if library == "timm" else _torchvision_body
    body = build(model, size, tensors)
    for module in body.network.modules():
        for rate in _RATES:
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return body


def _torchvision_body(model: str, size: int | None, tensors: dict[str, Tensor] | None) -> Body:
    architecture = model.partition(".")[0]
    transformer = architecture.startswith("vit_")
    options: dict[str, Any] = {"image_size": size} if transformer and size is not None else {}
    network = _torchvision_network(architecture, **options)
    if tensors is not None:
        if options:
            tensors = dict(interpolate_embeddings(size, network.patch_size, dict(tensors)))
        network.load_state_dict(tensors)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear or not isinstance(network.get_submodule(linear[-1]), nn.Linear):
        raise InputError(f"network.name = 'torchvision/{model}': its classifier is no linear layer; take another")
    classifier = network.get_submodule(linear[-1])
    assert isinstance(classifier, nn.Linear), "chosen for it"
    network.set_submodule(linear[-1], nn.Identity())
    return Body(network, classifier, num_prefix_tokens=int(transformer))


def _torchvision_network(architecture: str, **options: Any) -> nn.Module:
    """The whole network on the context's device; some, as RegNet, cannot be built on the meta device itself."""
    try:
        network: nn.Module = torchvision.models.get_model(architecture, weights=None, **options)
    except NotImplementedError:
        with torch.device("cpu"):
            network = torchvision.models.get_model(architecture, weights=None, **options)
        network = network.to("meta")
    return network


def timm_settings(model: str) -> Any:
    """What timm knows of a network under the tag of its weights: image size, normalisation, where they are."""
    import_timm()
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return get_pretrained_cfg(model) or PretrainedCfg()


def _timm_body(model: str, size: int | None, tensors: dict[str, Tensor] | None) -> Body:
    timm, settings = import_timm(), timm_settings(model)
    loaded = {} if tensors is None else {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(tensors)}}
    network = timm.create_model(model, **loaded)
    classifier = network.get_classifier()
    network.reset_classifier(0)
    if size not in (None, native_size(f"timm/{model}")) and hasattr(network, "set_input_size"):
        network.set_input_size(img_size=size)
    return Body(
        network,
        classifier if isinstance(classifier, nn.Linear) else None,
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        num_prefix_tokens=getattr(network, "num_prefix_tokens", 0),
        last=str(network.feature_info[-1].get("module", "")) if getattr(network, "feature_info", None) else "",
    )


def published_shapes(name: str) -> dict[str, Tensor]:
    """Tensors on the meta device of the whole network as the library publishes it, its own classifier too."""
    library, _, model = name.partition("/")
    with torch.device("meta"):
        if library == "timm":
            network = import_timm().create_model(model)
        else:
            network = _torchvision_network(model.partition(".")[0])
    return dict(network.state_dict())


class Tap(NamedTuple):
    """A module whose output is planes, or tokens that stand for positions."""

    name: str
    layout: str
    """``planes``: (B, C, H, W); ``channels_last``: (B, H, W, C); ``tokens``: (B, P + H W, C), of which the first P
    are none of patches."""
    shape: tuple[int, int, int]
    """(C, H, W) of its planes."""
    prefix: int = 0

    def planes(self, output: Tensor) -> Tensor:
        """What the module gave as planes (B, C, H, W)."""
        if self.layout == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(-1, *self.shape)
        return output.permute(0, 3, 1, 2) if self.layout == "channels_last" else output


class Probe(NamedTuple):
    """What one pass over the meta device showed."""

    num_features: int
    """Of an image, before the classifier."""
    taps: dict[str, Tap]
    """Every module that can be tapped, in the order in which they end."""
    listed: tuple[str, ...]
    """Of those with one and the same output, the default tap or the outermost."""
    last: str
    """The library's own last planes, else the last of these that have positions and come from no norm."""
    refused: dict[str, str]
    """Why other modules cannot be tapped."""


@cache
def probe(name: str, size: int) -> Probe:
    """Run the network once for shapes, on images of ``size``; no weights are drawn.

    Raises:
        InputError: when the network does not take images of this size.
    """
    calls: list[_Call] = []
    with torch.device("meta"):
        body = build_body(name, size)
        for path, module in body.network.named_modules():
            if path:
                module.register_forward_hook(partial(_note, calls, path))
        try:
            with torch.no_grad():
                features = body.network(torch.empty(2, 3, size, size))
        except Exception as error:  # noqa: BLE001  each network refuses images in its own way
            raise InputError(f"{name} does not take images of {size} px ({first_line(error)})") from None
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise InputError(f"network.name = {name!r}: gives no single vector of features for an image; take another")
    return _sorted_out(body, calls, features.shape[1])


def first_line(error: BaseException) -> str:
    """Of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


class _Call(NamedTuple):
    """One pass of a module."""

    path: str
    output: Any
    version: int
    """Of the output then; it changes when the output is overwritten."""


def _note(calls: list[_Call], path: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
    calls.append(_Call(path, output, output._version if isinstance(output, Tensor) else 0))


def _sorted_out(body: Body, calls: list[_Call], num_features: int) -> Probe:
    count = Counter(call.path for call in calls)
    taps, refused = dict[str, Tap](), dict[str, str]()
    outermost, innermost = dict[tuple[int, int], _Call](), dict[tuple[int, int], str]()
    for call in calls:
        module, tap = body.network.get_submodule(call.path), _tap(call, body)
        if isinstance(module, nn.Identity) or any(hasattr(module, rate) for rate in _RATES):
            refused[call.path] = "changes nothing"
        elif count[call.path] > 1:
            refused[call.path] = "runs more than once"
        elif tap is None:
            refused[call.path] = "gives no planes"
        elif call.output._version != call.version:
            refused[call.path] = "is changed in place by what follows it"
        else:
            taps[call.path] = tap
            innermost.setdefault(_memory(call), type(module).__name__)
            inner = outermost.setdefault((id(call.output), call.version), call)
            if inner.path != body.last and inner.path.startswith(f"{call.path}."):
                outermost[id(call.output), call.version] = call
    listed = tuple(call.path for call in outermost.values())
    raw = [call.path for call in outermost.values() if "Norm" not in innermost[_memory(call)]]
    maps = [path for path in (body.last, *reversed(raw)) if path in taps and math.prod(taps[path].shape[1:]) > 1]
    return Probe(num_features, taps, listed, maps[0] if maps else "", refused)


def _memory(call: _Call) -> tuple[int, int]:
    """What tells a module's values from others, in whatever shape they are passed on."""
    return call.output.untyped_storage()._cdata, call.version


def _tap(call: _Call, body: Body) -> Tap | None:
    """The planes in a module's output for two square images, if there are any."""
    path, output = call.path, call.output
    if not isinstance(output, Tensor) or len(output) != 2 or not output.is_floating_point():
        return None
    if output.ndim == 4:
        _, a, b, c = output.shape
        if b == c and getattr(body.network, "output_fmt", "NCHW") != "NHWC":
            return Tap(path, "planes", (a, b, c))
        return Tap(path, "channels_last", (c, a, b)) if a == b else None
    side = math.isqrt(max(0, output.shape[1] - body.num_prefix_tokens)) if output.ndim == 3 else 0
    if side == 0 or side * side + body.num_prefix_tokens != output.shape[1]:
        return None
    return Tap(path, "tokens", (output.shape[2], side, side), body.num_prefix_tokens)
