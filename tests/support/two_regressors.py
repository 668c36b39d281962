"""Run by torchrun in two processes: a regressor's gradient from shares of a batch, and from the whole batch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from harness.config import FitNet, Weights
from harness.devices.accelerator import make_accelerator
from harness.networks import NetworkOutput
from harness.objectives import Sources, build_objective
from harness.runs.runtime import RuntimeConfig
from harness.training.parallel import average_gradients
from harness.training.step import share_of_global_mean


def main(out: Path) -> None:
    accelerator = make_accelerator(RuntimeConfig(device="cpu", num_threads=1))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 32, 32, generator=generator)
    logits, planes = torch.randn(5, 4, generator=generator), torch.randn(5, 32, 1, 1, generator=generator)
    targets = torch.tensor([[0, 1, 255, 1], [255, 255, 0, 0], [1, 255, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1]]).byte()
    found = []
    for share, num_processes in (
        (slice(0, 3) if accelerator.process_index == 0 else slice(3, 5), 2),
        (slice(0, 5), 1),
    ):
        objective = build_objective(
            FitNet(teacher=Weights(kind="none"), weight=0.5),
            Sources(runtime=RuntimeConfig(), device=accelerator.device),
        )
        assert objective.module is not None
        average_gradients(objective.module, num_processes)
        losses = objective(NetworkOutput(logits[share], planes[share]), images[share], targets[share])
        loss = losses.total
        if num_processes == 2:
            loss = share_of_global_mean(accelerator, losses, targets[share], 5)
        loss.backward()
        gradients = [
            parameter.grad.flatten() for parameter in objective.module.parameters() if parameter.grad is not None
        ]
        found.append(torch.cat(gradients).tolist())
    if accelerator.is_main_process:
        out.write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
