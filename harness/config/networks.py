"""Register networks: what configs, planning and reports know of each without importing torch.

An entry names the network's class as ``module:Class``; the module is imported when a network is built. A network of
another package is registered by an entry point of the group ``cxr_harness.networks`` (see ``docs/extending.md``).
Every classifier of torchvision and timm has an entry, made when it is asked for: ``torchvision/resnet50``,
``timm/convnext_tiny``, with the tag of published weights as ``timm/resnet18.a1_in1k``. Whether the library has it is
seen when it is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from datasets.registry import Registry

LIBRARIES = ("torchvision", "timm")
_LIBRARY_NAME = re.compile(rf"({'|'.join(LIBRARIES)})/[\w.-]{{1,80}}", re.ASCII)
MODULES = re.compile(r"[\w.]{1,80}(\+[\w.]{1,80})*", re.ASCII)
"""Names of modules of a library's network, as a config writes several of them."""
MAX_SCOPE = 80
"""Characters of a scope, which is a part of the run's name."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A set of layers that can be trained while the others stay frozen."""

    title: str
    """In reports."""
    modules: tuple[str, ...]
    """Names of the modules whose parameters are trained; ``("",)`` is the whole network."""


ALL_LAYERS = Scope(title="all layers", modules=("",))


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """What the harness knows of one network."""

    constructor: str
    """``module:Class`` of a ``harness.networks.Network``, called with a ``NetworkConfig`` and a number of outputs."""
    short_name: str
    """In run names: ``d121``."""
    title: str
    """In reports: ``DenseNet-121``."""
    relative_cost: float | None
    """Multiply-adds of a forward pass in units of DenseNet-121's at the same image size; None for a library's
    network, of which they are counted when they are asked for."""
    scopes: Mapping[str, Scope] = field(default_factory=lambda: {"all": ALL_LAYERS})
    """By the name that a config gives them; ``all`` must be among them."""
    starts_from: tuple[str, ...] = ()
    """Other networks whose weights under ``features.`` it can start from; ``densenet121`` includes ImageNet's."""
    num_parameters: int = 0
    """Of the whole network, about: by it a plan reckons the disk that runs take."""
    can_teach: bool = False
    """Whether a run of it can be a teacher; whether its planes suit the student's is seen when both are built."""


class NetworkRegistry(Registry[NetworkEntry]):
    """The registered networks, which it lists, and those of the libraries, which it does not."""

    def __getitem__(self, name: str) -> NetworkEntry:
        return library_entry(name) if is_library(name) else super().__getitem__(name)

    def check(self, key: str, name: object) -> None:
        """Raise ValueError, with all known names, unless ``name`` is a network; ``key`` is what holds it."""
        if not isinstance(name, str) or name not in self:
            known = ", ".join((*self, *(f"{library}/NAME" for library in LIBRARIES)))
            raise ValueError(f"{key} = {name!r} is unknown; known: {known}")


def is_library(name: object) -> bool:
    """Whether ``name`` is written as that of a library's network."""
    return isinstance(name, str) and _LIBRARY_NAME.fullmatch(name) is not None


@cache
def library_entry(name: str) -> NetworkEntry:
    """The entry of a library's network, whether the library has it or not."""
    return NetworkEntry(
        constructor="harness.networks.backbone:Backbone",
        short_name=name.replace("/", "-"),
        title=name,
        relative_cost=None,
        can_teach=True,
    )


NETWORKS = NetworkRegistry("network", "cxr_harness.networks")

NETWORKS.add(
    "densenet121",
    NetworkEntry(
        constructor="harness.networks.densenet121:DenseNet121",
        short_name="d121",
        title="DenseNet-121",
        relative_cost=1.0,
        num_parameters=6_968_206,
        scopes={
            "all": ALL_LAYERS,
            # Counted in convolutions and linear layers from the end, the 34th is transition3.conv.
            "last34": Scope(
                title="last 34 layers",
                modules=("features.transition3", "features.denseblock4", "features.norm5", "classifier"),
            ),
        },
        can_teach=True,
    ),
)
NETWORKS.add(
    "densenet40",
    NetworkEntry(
        constructor="harness.networks.densenet40:DenseNet40",
        short_name="d40",
        title="DenseNet-40",
        relative_cost=0.7,  # the layers of DenseNet-121 that it leaves out hold 30 percent of the multiply-adds
        starts_from=("densenet121",),
        num_parameters=1_364_142,
    ),
)


def check_network(name: str, scope: str) -> None:
    """Raise ValueError unless there can be such a network and scope; a library's is looked up when it is built."""
    NETWORKS.check("network.name", name)
    if scope in NETWORKS[name].scopes:
        return
    if is_library(name):
        if MODULES.fullmatch(scope) is None or len(scope) > MAX_SCOPE:
            raise ValueError(
                f"network.scope = {scope!r}: expected all, or names of modules joined by +, as layer3+layer4, in at "
                f"most {MAX_SCOPE} characters"
            )
        return
    owners = [other for other, entry in NETWORKS.items() if scope in entry.scopes]
    if owners:
        raise ValueError(f"network.scope = {scope} needs {' or '.join(owners)}")
    raise ValueError(f"network.scope = {scope!r} is unknown; known: {', '.join(known_scopes())}")


def scope_modules(name: str, scope: str) -> tuple[str, ...]:
    """Modules whose parameters a scope trains; one of a library's modules also trains the new classifier."""
    entry = NETWORKS[name]
    if scope in entry.scopes:
        return entry.scopes[scope].modules
    named = (module for module in scope.split("+") if module != "classifier")
    return (*(f"features.{module}" for module in named), "classifier")


def known_scopes() -> dict[str, Scope]:
    """Every scope of every registered network, by name."""
    return {name: scope for entry in NETWORKS.values() for name, scope in entry.scopes.items()}
