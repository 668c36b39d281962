"""How many GPUs a machine's loader can feed: its measured rates over the rates at which GPUs train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.config import (
    NETWORKS,
    AttentionTransfer,
    DataConfig,
    NetworkConfig,
    RunConfig,
    TransferLearning,
    Weights,
)
from launch.plan.cost import CARD, Work, card_seconds

NAMES = {"densenet121": "as measured", "densenet40": "by its cost beside DenseNet-121"}
METHODS = {"transfer learning": TransferLearning(), "attention transfer": None}
DISK_SHARE = 0.8
"""Of its sequential rate: a disk that gives so much is what limits reading."""


def card_rates() -> list[dict[str, Any]]:
    """Training images/s of the card that plans reckon with, by network and method."""
    found = []
    for network, how in NAMES.items():
        for method, objective in METHODS.items():
            config = RunConfig(
                data=DataConfig(dataset="chestxray14"),
                network=NetworkConfig(name=network),
                init=Weights(kind="none"),
                objective=objective or AttentionTransfer(teacher=Weights(kind="none"), weight=1.0),
            )
            title = f"{NETWORKS[network].title} by {method}"
            rate = 1.0 / card_seconds(config, Work(train_images=1))
            found.append({"title": title, "card": CARD, "rate_is": how, "images_per_s": rate})
    return found


def feeds(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a measurement of ``cxr bench scaling``.

    Returns:
        ``rates``, the loader's images/s of pages from memory and from the disk, which a GPU augments itself, and of
        float32 batches that the loader's threads augment; ``rows``, for each row of ``card_rates`` the GPUs that
        these feed, ``memory``, ``disk`` and ``float32``; ``limit`` of reading from the disk; ``verdict`` in words.
    """
    cold = {row["name"]: row for row in scaling["cold"]}
    warm = {row["name"]: row["images_per_s"] for row in scaling["points"][0]["rows"]}
    pages = cold["raw_pages"]
    rates = {
        "memory": pages["warm_images_per_s"],
        "disk": pages["images_per_s"],
        "float32": warm["raw_float32"],
    }
    rows = [{**row, **{name: rate / row["images_per_s"] for name, rate in rates.items()}} for row in card_rates()]
    limit = _limit(pages)
    return {"rates": rates, "rows": rows, "limit": limit, "verdict": _words(rates, rows[0], limit)}


def _limit(pages: Mapping[str, Any]) -> str:
    """What limits pages that are read from the disk."""
    if pages["read_share"] < DISK_SHARE:
        return "not measured, since nothing came from a disk: set TMPDIR to a folder on one"
    if pages["share_of_disk"] >= DISK_SHARE:
        return f"the disk limits, at {pages['disk_mb_per_s']:,.0f} MB/s"
    if pages["share_of_reachable"] >= DISK_SHARE:
        return "the loader's threads limit, not the disk"
    share = f"{100 * pages['share_of_disk']:.0f} % of the disk's {pages['disk_mb_per_s']:,.0f} MB/s are reached"
    return f"waiting for the disk limits: {share}"


def _words(rates: Mapping[str, float], row: Mapping[str, Any], limit: str) -> str:
    parts = (
        f"This machine's loader can feed {gpus(row['memory'])} of this kind: {rates['memory']:,.0f} images/s of",
        f"pages, which a GPU augments itself, over {row['images_per_s']:,.0f} images/s of {row['title']} on",
        f"{row['card']}; the loader's threads limit. From the disk, for images that do not fit into memory, it can",
        f"feed {gpus(row['disk'])}, with {rates['disk']:,.0f} images/s; {limit}. With float32 batches that its",
        f"threads augment it can feed {gpus(row['float32'])}, with {rates['float32']:,.0f} images/s; the processor",
        "limits.",
    )
    return " ".join(parts)


def gpus(fed: float) -> str:
    """A number of GPUs in words: whole ones, and a share where it is not even one."""
    if fed < 1.0:
        return f"{fed:.2f} of a GPU"
    return "1 GPU" if fed < 2.0 else f"{int(fed):,} GPUs"
