"""Compare beta searches by halving with full searches on made-up images, over several seeds; write halving.json.

Each seed is a search of its own: its points start from other weights and see the images in another order. Finished
runs are recognised and interrupted ones resume: run the same command again.

Run: python -m benchmarks.science.halving --out benchmarks [--work runs/halving] [--seeds 5]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.environment import describe
from benchmarks.science.data import SIZE, prepare_phantoms
from datasets.files import write_json
from harness.config import AttentionTransfer, BetaSearch, DataConfig, NetworkConfig, RunConfig, Schedule, Weights
from harness.runs.beta_search import ranked
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run
from launch.grids.paper import BETA_POINTS

NETWORK, SUBSET, EPOCHS, BATCH_SIZE, LEARNING_RATE = "timm/test_resnet", "64", 8, 8, 1e-3
"""A residual network of half a million parameters, and what its students are trained on."""
FIRST_RUNGS = (1, 2, 4)
"""Epochs of the first rung that are compared (``min_resource``)."""


def run_of(subset: str, **changes: Any) -> RunConfig:
    """The network from random weights; ``changes`` are fields of RunConfig."""
    return RunConfig(
        data=DataConfig(dataset="chestxray14", subset=subset, image_size=SIZE, flip_probability=0.0),
        network=NetworkConfig(name=NETWORK),
        init=Weights(kind="none"),
        schedule=Schedule(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE),
        **changes,
    )


TEACHER = run_of("full")


def search_of(seed: int, min_resource: int = 1) -> BetaSearch:
    """The paper's eight betas for a student of few images, whose teacher has seen all."""
    template = run_of(SUBSET, objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER)), seed=seed)
    return BetaSearch(template=template, points=BETA_POINTS, pruner="halving", min_resource=min_resource)


def compare(seed: int, runtime: RuntimeConfig) -> dict[str, Any]:
    """Train the full search of a seed; return its choice, that of halving, and what the latter loses.

    Runs of rungs have the bits of the full search's, so its curves tell what halving chooses; the first seed's search
    by halving is trained all the same, and must choose so.

    Raises:
        AssertionError: when it does not.
    """
    search = search_of(seed)
    for run in search.full.runs:
        train_run(run, runtime)
    full = {tried.beta: 1.0 - tried.loss for tried in ranked(search.full, runtime.folder_of)}
    order, chosen = list(full), {first: replayed(search_of(seed, first), runtime) for first in FIRST_RUNGS}
    if seed == 0:
        for run in search.named_runs().values():
            train_run(run, runtime)
        assert ranked(search, runtime.folder_of)[0].beta == chosen[1], (
            "a run of a rung is not that of the full search"
        )
    return {
        "seed": seed,
        "full": order[0],
        "auroc": {f"{beta:g}": full[beta] for beta in search.points},
        "halving": {
            first: {"chosen": beta, "place": 1 + order.index(beta), "auroc_lost": full[order[0]] - full[beta]}
            for first, beta in chosen.items()
        },
    }


def summary(found: Sequence[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """By the epochs of the first rung: how often the choices are equal, AUROC lost in the mean, share of epochs."""
    rows = {}
    for first in FIRST_RUNGS:
        rungs, ours = search_of(0, first).rungs, [one["halving"][first] for one in found]
        starts = (0, *(rung.end for rung in rungs))
        epochs = sum(rung.size * (rung.end - start) for start, rung in zip(starts, rungs, strict=False))
        rows[first] = {
            "equal": sum(one["place"] == 1 for one in ours),
            "searches": len(ours),
            "mean_auroc_lost": sum(one["auroc_lost"] for one in ours) / len(ours),
            "share_of_epochs": epochs / (EPOCHS * len(BETA_POINTS)),
        }
    return rows


def replayed(search: BetaSearch, runtime: RuntimeConfig) -> float:
    """The beta that halving chooses, by the curves of the full search."""
    curves = {
        beta: [line["validation"]["mean_auroc"] for line in runtime.folder_of(run).metrics()]
        for beta, run in zip(search.points, search.full.runs, strict=True)
    }
    left = list(search.points)
    for rung in search.rungs:
        left = sorted(left[: rung.size], key=lambda beta: (-max(curves[beta][: rung.end]), beta))
    return left[0]


def main() -> None:
    """Make the data, train, and write what came out after each seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.halving", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of halving.json")
    parser.add_argument("--work", type=Path, default=Path("runs/halving"), help="folder of images and runs")
    parser.add_argument("--seeds", type=int, default=5, help="searches; default: 5")
    arguments = parser.parse_args()
    prepare_phantoms("chestxray14", arguments.work / "data")
    folders = {"runs_dir": arguments.work / "runs", "data_dir": arguments.work / "data"}
    runtime = RuntimeConfig(**folders, device="cpu", precision="fp32", num_workers=1, num_threads=1)
    facts = {"network": NETWORK, "subset": SUBSET, "batch_size": BATCH_SIZE, "image_size": SIZE, "epochs": EPOCHS}
    train_run(TEACHER, runtime)
    environment = describe(["python", "-m", "benchmarks.science.halving", *sys.argv[1:]])
    found = []
    for seed in range(arguments.seeds):
        found.append(compare(seed, runtime))
        print(found[-1], file=sys.stderr)
        document = {"environment": environment, **facts, "halving": summary(found), "searches": found}
        write_json(arguments.out / "halving.json", document)


if __name__ == "__main__":
    main()
