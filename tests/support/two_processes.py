"""Run by torchrun in two processes: gathers unequal shares, checks a gradient, trains a tiny run; rank 0 reports."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import gather_object
from plain_network import one_epoch, plain_components
from tiny_runs import all_options, mixed_config, tiny_config, tiny_runtime
from torch import nn
from two_recorded import averages, epochs, recorded, resumed

from datasets.errors import InputError
from harness.devices.accelerator import Accelerator, make_accelerator, refuse_shared_gpus
from harness.evaluation.complete import complete_run
from harness.evaluation.inference import gather_rows, same_statistics
from harness.objectives import Losses
from harness.objectives.base import masked_cross_entropy
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run
from harness.training.step import share_of_global_mean
from harness.training.sync_batch_norm import synchronised


def gathered(accelerator: Accelerator) -> list[Any]:
    """Three rows of the first process and none of the second, then one and two."""
    rank = accelerator.process_index
    first = torch.arange(6, dtype=torch.uint8).reshape(3, 2)[: 3 if rank == 0 else 0]
    second = torch.tensor([[10.0 * rank + row] for row in range(rank + 1)])
    return [gather_rows(rows).tolist() for rows in (first, second)]


def gradients(accelerator: Accelerator) -> list[list[float]]:
    """Of a linear layer over 5 images shared 3 to 2 with ignored targets: over both processes, and in one piece."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 4, generator=generator)
    targets = torch.tensor([[0, 1], [255, 255], [1, 255], [1, 0], [0, 1]], dtype=torch.uint8)
    share = slice(0, 3) if accelerator.process_index == 0 else slice(3, 5)
    found = []
    for part, wrap in ((share, True), (slice(0, 5), False)):
        torch.manual_seed(1)
        layer = nn.Linear(4, 2)
        network = accelerator.prepare(layer) if wrap else layer
        logits = network(images[part])
        cross_entropy, attention = masked_cross_entropy(logits, targets[part]), logits.square().mean()
        losses = Losses(cross_entropy + 0.3 * attention, cross_entropy, attention)
        loss = share_of_global_mean(accelerator, losses, targets[part], 5) if wrap else losses.total
        loss.backward()
        assert layer.weight.grad is not None
        found.append(layer.weight.grad.flatten().tolist())
    return found


def norms(accelerator: Accelerator) -> list[dict[str, list[float]]]:
    """Of batch norm over 5 images shared 3 to 2: a process's part, its gradient, statistics; and in one piece."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 4, 2, 2, generator=generator) + 3
    weight = torch.randn(5, 4, 2, 2, generator=generator)
    share = slice(0, 3) if accelerator.process_index == 0 else slice(3, 5)
    found = []
    for part, norm in ((share, synchronised(nn.BatchNorm2d(4), 2)), (slice(0, 5), nn.BatchNorm2d(4))):
        inputs = images[part].clone().requires_grad_()
        planes = norm(inputs)
        (planes.square() * weight[part]).sum().backward()
        assert inputs.grad is not None
        own = slice(None) if part == share else share
        values = {"planes": planes[own], "gradient": inputs.grad[own]}
        values |= {"mean": norm.running_mean, "variance": norm.running_var}  # type: ignore[dict-item]
        found.append({name: value.flatten().tolist() for name, value in values.items()})
    return found


def statistics(accelerator: Accelerator) -> list[list[float]]:
    """Running means of a batch norm on both processes after ``same_statistics``; they were another on each."""
    norm = nn.BatchNorm2d(2)
    norm.running_mean.fill_(accelerator.process_index + 1)  # type: ignore[union-attr]
    same_statistics(norm, accelerator)
    return [norm.running_mean.tolist(), *gather_object([norm.running_mean.tolist()])]  # type: ignore[union-attr]


def shared_gpus() -> list[str]:
    """What is said of two processes with one GPU, and with one each; the stand-in is CUDA's answer."""
    said = []
    torch.cuda.current_device = lambda: 0
    for uuids in ("aa", "ab"):
        uuid = uuids[torch.distributed.get_rank()]
        torch.cuda.get_device_properties = lambda _, uuid=uuid: SimpleNamespace(uuid=uuid)  # type: ignore[misc]
        try:
            refuse_shared_gpus()
            said.append("")
        except InputError as error:
            said.append(str(error))
    return said


def completed(runtime: RuntimeConfig) -> list[str]:
    """The files that both processes make anew for a copy of the run that lacks them."""
    accelerator = make_accelerator(runtime)
    folder = runtime.folder_of(tiny_config(epochs=1))
    copy = RunFolder(folder.path.parent.parent / "completed")
    if accelerator.is_main_process:
        shutil.copytree(folder.path, copy.path)
        for path in (copy.predictions_file, copy.validation_file, copy.calibration_file):
            path.unlink()
    accelerator.wait_for_everyone()
    return [path.name for path in complete_run(copy, runtime)]


def main(beton: Path, mix: Path, runs_dir: Path, out: Path) -> None:
    runtime = tiny_runtime(beton, runs_dir)
    accelerator = make_accelerator(runtime)
    found: dict[str, Any] = {"gathered": gathered(accelerator), "gradients": gradients(accelerator)}
    found["norms"] = norms(accelerator)
    components = plain_components(accelerator, beton)
    found["ddp"] = [components.wrapped.broadcast_buffers, components.wrapped.gradient_as_bucket_view]
    found["plain"] = one_epoch(components)
    found["options"] = one_epoch(plain_components(accelerator, beton, all_options(tiny_config())))
    found["mix"] = one_epoch(plain_components(accelerator, mix, mixed_config()))
    found["statistics"], found["shared_gpus"] = statistics(accelerator), shared_gpus()
    found["averages"], found["epochs"] = averages(accelerator), epochs(accelerator, beton)
    found["recorded"], found["resumed"] = recorded(accelerator, beton), resumed(beton, runs_dir.parent / "resumed")
    Accelerator.end_training = lambda _: None  # which would end the process group
    found["result"] = train_run(tiny_config(epochs=1), runtime)
    found["completed"] = completed(runtime)
    if accelerator.is_main_process:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
