"""Register networks: what configs, planning and reports know of each without importing torch.

An entry names the network's class as ``module:Class``; the module is imported when a network is built. A network of
another package is registered by an entry point of the group ``cxr_harness.networks`` (see ``docs/extending.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datasets.registry import Registry


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
    relative_cost: float
    """Multiply-adds of a forward pass in units of DenseNet-121's at the same image size."""
    scopes: Mapping[str, Scope] = field(default_factory=lambda: {"all": ALL_LAYERS})
    """By the name that a config gives them; ``all`` must be among them."""
    starts_from: tuple[str, ...] = ()
    """Other networks whose weights under ``features.`` it can start from; ``densenet121`` includes ImageNet's."""
    num_parameters: int = 0
    """Of the whole network, about: by it a plan reckons the disk that runs take."""
    can_teach: bool = False
    """Whether a run of it can be a teacher: its attention planes are as many, and as large, as every student's."""


NETWORKS = Registry[NetworkEntry]("network", "cxr_harness.networks")

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
    """Raise ValueError unless the network is registered and has the scope."""
    NETWORKS.check("network.name", name)
    if scope in NETWORKS[name].scopes:
        return
    owners = [other for other, entry in NETWORKS.items() if scope in entry.scopes]
    if owners:
        raise ValueError(f"network.scope = {scope} needs {' or '.join(owners)}")
    raise ValueError(f"network.scope = {scope!r} is unknown; known: {', '.join(known_scopes())}")


def known_scopes() -> dict[str, Scope]:
    """Every scope of every network, by name."""
    return {name: scope for entry in NETWORKS.values() for name, scope in entry.scopes.items()}
