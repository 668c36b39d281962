"""Files of weights for tests: a stand-in for torchvision's ImageNet file, and finished runs with random weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

from harness.config import RunConfig, to_dict
from harness.networks import build_network, draw_weights
from harness.runs.folder import RunFolder

LABELS = ("first", "second", "third")


def imagenet_state(seed: int = 5) -> dict[str, torch.Tensor]:
    """torchvision's network of 1000 classes with random weights and running statistics."""
    network = densenet121()
    draw_weights(network, seed)
    generator = torch.Generator().manual_seed(seed)
    for value in network.buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=generator)
    return network.state_dict()


def with_old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As in torchvision's file: ``norm.1`` for ``norm1``, no counters of batches."""
    pattern = re.compile(r"(denselayer\d+\.)(norm|conv)([12])\.")
    return {pattern.sub(r"\1\2.\3.", key): v for key, v in state.items() if not key.endswith("num_batches_tracked")}


def write_run(
    runs_dir: Path,
    run: RunConfig,
    *,
    labels: tuple[str, ...] = LABELS,
    done: bool = True,
    metadata: dict[str, str] | None = None,
) -> dict[str, torch.Tensor]:
    """The files of a run that its weights are read from; returns the weights."""
    folder = RunFolder(runs_dir / run.run_id)
    network = build_network(run.network, len(labels))
    draw_weights(network, seed=1000 + run.seed)
    known = {
        "labels": json.dumps(labels),
        "network": run.network.name,
        "scope": run.network.scope,
        "image_size": str(run.data.image_size),
        "run_id": run.run_id,
        "dataset": run.data.dataset,
    }
    folder.best_dir.mkdir(parents=True)
    save_file(network.state_dict(), folder.best_dir / "model.safetensors", metadata=known | (metadata or {}))
    folder.config_file.write_text(json.dumps({"config": to_dict(run)}), encoding="utf-8")
    if done:
        folder.result_file.write_text(json.dumps({"run_id": run.run_id, "status": "done"}), encoding="utf-8")
    return network.state_dict()
