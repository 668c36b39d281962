"""What recorded steps must keep on a GPU: real sizes, changing rates, overflows, every tier, neighbours, failures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerator_state import forget_accelerator
from on_gpu import DEVICE, assert_same, trained
from stopped_runs import ROOT, command, environment
from tiny_runs import (
    attention_transfer,
    hash_of,
    tiny_config,
    tiny_schedule,
    write_tiny_beton,
)
from torch import Tensor

from datasets.errors import InputError
from harness.config import FitNet, NetworkConfig, RunConfig, Schedule, Weights
from harness.devices.accelerator import make_accelerator
from harness.devices.cuda_graph import GraphMemory
from harness.evaluation.forward import GraphedForward
from harness.networks import build_network, draw_weights
from harness.objectives import Sources, build_objective
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.runs.step_hashes import StepsDone
from harness.training.build import forward_backward
from harness.training.optimizer import build_optimizer
from harness.training.parallel import not_recorded
from harness.training.step import CACHE_VARIABLE, EagerForwardBackward

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
RATES = (1e-4, 5e-5, 1e-3, 1e-4)


def steps(
    network: str, batch: int, size: int, *, precision: Any, graphs: bool, overflows: int | None = None
) -> list[Tensor]:
    """Attention transfer, a learning rate for each step, a validation after it; all that comes of it, on the CPU.

    In step ``overflows`` the pixels are so large that gradients in float16 are not finite.
    """
    forget_accelerator()
    runtime = RuntimeConfig(device=DEVICE, precision=precision, cuda_graphs=graphs)
    accelerator = make_accelerator(runtime)
    made = build_network(NetworkConfig(name=network), 14)
    draw_weights(made, seed=0)
    made.to(device=accelerator.device, memory_format=torch.channels_last)
    objective = build_objective(attention_transfer(0.5), Sources(runtime=runtime, device=accelerator.device))
    wrapped, optimizer = accelerator.prepare(made, build_optimizer(made.parameters(), Schedule()))
    memory, records = GraphMemory(), not_recorded(accelerator, runtime) is None
    step = forward_backward(accelerator, wrapped, objective, [batch], runtime, memory)
    forward: Any = GraphedForward(made, memory) if records else lambda images: made(images).logits
    generator, kept = torch.Generator().manual_seed(7), []
    for number, rate in enumerate(RATES):
        pixels = torch.randn(batch, 3, size, size, generator=generator) * (1e8 if number == overflows else 1.0)
        images = pixels.to(accelerator.device).to(memory_format=torch.channels_last)
        targets = torch.randint(0, 2, (batch, 14), generator=generator, dtype=torch.uint8).to(accelerator.device)
        made.train()
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits, losses = step(images, targets, batch)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        made.eval()
        with torch.no_grad(), accelerator.autocast():
            validated = forward(images)
        kept += [value.detach().cpu().clone() for value in (logits, losses.total, validated)]
    if accelerator.scaler is not None:
        kept.append(torch.tensor(accelerator.scaler.get_scale()))
    return [*kept, *(value.cpu().clone() for value in made.state_dict().values())]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_densenet_121_at_its_real_size_with_changing_rates_and_validations_between(precision: str) -> None:
    recorded, eager = (steps("densenet121", 32, 256, precision=precision, graphs=graphs) for graphs in (True, False))
    assert_equal(recorded, eager)


def test_an_overflow_of_float16_within_a_replay_leaves_the_step_out() -> None:
    recorded, eager = (
        steps("densenet40", 16, 64, precision="fp16", graphs=graphs, overflows=2) for graphs in (True, False)
    )
    assert_equal(recorded, eager)
    undisturbed = steps("densenet40", 16, 64, precision="fp16", graphs=True)
    scale = 3 * len(RATES)
    assert recorded[scale] < undisturbed[scale]


def test_clipped_and_left_out_steps_are_those_of_steps_one_by_one(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(objective=attention_transfer(0.5), schedule=tiny_schedule(3, clip_value=0.5, halve_every=1))
    recorded, eager = (
        trained(config, tiny_beton, tmp_path / str(graphs), cuda_graphs=graphs, on_nonfinite="skip")
        for graphs in (True, False)
    )
    assert_same(recorded, eager)


@pytest.mark.parametrize(("tier", "encoding"), [("raw", "raw"), ("resident", "raw"), ("jpeg", "jpeg")])
def test_a_run_goes_on_exactly_on_every_tier(tier: str, encoding: Any, tmp_path: Path) -> None:
    beton = write_tiny_beton(tmp_path / "data", encoding=encoding)
    config = tiny_config(objective=attention_transfer(0.5))
    whole = trained(config, beton, tmp_path / "whole", tier=tier)
    for last in (1, 4):
        with pytest.raises(StepsDone):
            trained(config, beton, tmp_path / "parts", tier=tier, max_steps=last)
    assert_same(trained(config, beton, tmp_path / "parts", tier=tier), whole)


def arguments(config: RunConfig, beton: Path, runs_dir: Path) -> list[str]:
    """``cxr train`` on the GPU as a process of its own."""
    made = command(config, beton, runs_dir, "--precision", "bf16")
    made[made.index("cpu")] = DEVICE
    return made


def test_two_runs_that_share_a_gpu_give_the_bits_of_each_alone(tiny_beton: Path, tmp_path: Path) -> None:
    configs = [tiny_config(objective=attention_transfer(0.5), seed=seed) for seed in (0, 1)]
    variables = {**environment(), "CUDA_VISIBLE_DEVICES": "0"}
    lines = [arguments(config, tiny_beton, tmp_path / f"both{config.seed}") for config in configs]
    processes = [subprocess.Popen(line, cwd=ROOT, env=variables) for line in lines]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    for config in configs:
        alone = trained(config, tiny_beton, tmp_path / "alone")
        assert_same(RunFolder(tmp_path / f"both{config.seed}" / config.run_id), alone)


@pytest.mark.timeout(900)
def test_a_compiled_run_goes_on_exactly_in_a_process_that_compiles_anew(tiny_beton: Path, tmp_path: Path) -> None:
    """Each start has an empty cache; kernels are chosen by rule and not by their time."""
    config, hashes = tiny_config(objective=attention_transfer(0.5)), []
    for name, starts in {"whole": [[]], "parts": [["--max-steps", "2"], []]}.items():
        for number, options in enumerate(starts):
            line = [*arguments(config, tiny_beton, tmp_path / name), "--compile", *options]
            caches = {CACHE_VARIABLE: str(tmp_path / f"cache-{name}-{number}"), "CUDA_VISIBLE_DEVICES": "0"}
            subprocess.run(line, cwd=ROOT, env={**environment(), **caches}, check=not options, timeout=280)
        hashes.append(hash_of(RunFolder(tmp_path / name / config.run_id).best_dir))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("graphs", [True, False], ids=["one_all_reduce_in_the_graph", "wrapper"])
@pytest.mark.parametrize("local_rank", ["0", "1"], ids=["nccl", "nccl_with_one_visible_gpu"])
def test_a_single_process_of_nccl_gives_the_bits_of_one_without(
    local_rank: str, graphs: bool, tiny_beton: Path, tmp_path: Path
) -> None:
    """Local rank 1 where one GPU is visible is what srun --gpus-per-task=1 makes; the process ends by itself."""
    config = tiny_config(objective=FitNet(teacher=Weights(kind="none")))
    launched = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": "1"}
    launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "CUDA_VISIBLE_DEVICES": "0"}
    line = [*arguments(config, tiny_beton, tmp_path / "nccl"), *([] if graphs else ["--no-cuda-graphs"])]
    subprocess.run(line, cwd=ROOT, env={**environment(), **launched}, check=True, timeout=300)
    assert_same(RunFolder(tmp_path / "nccl" / config.run_id), trained(config, tiny_beton, tmp_path / "alone"))


@pytest.mark.timeout(900)
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("sync_bn", [False, True])
def test_two_gpus_give_the_bits_of_the_wrapper_and_go_on_exactly(
    sync_bn: bool, tiny_beton: Path, tmp_path: Path
) -> None:
    """Recorded with their all-reduce and through DistributedDataParallel; a mean of two numbers has no order."""
    config = tiny_config(network=NetworkConfig(name="densenet40", sync_bn=sync_bn))
    two, variables = ["--num-processes", "2"], {**environment(), "CUDA_VISIBLE_DEVICES": "0,1"}
    ways = {
        "recorded": [[]],
        "wrapper": [["--no-cuda-graphs"]],
        "parts": [["--max-steps", "1"], ["--max-steps", "4"], []],
    }
    hashes = []
    for name, starts in ways.items():
        for options in starts:
            line = [*arguments(config, tiny_beton, tmp_path / name), *two, *options]
            subprocess.run(line, cwd=ROOT, env=variables, check="--max-steps" not in options, timeout=300)
        hashes.append(hash_of(RunFolder(tmp_path / name / config.run_id).best_dir))
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_step_that_cannot_be_recorded_ends_the_run_with_one_line(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is waited for within the recording, which CUDA refuses."""
    whole = EagerForwardBackward.__call__

    def waits(self: EagerForwardBackward, *batch: Any) -> Any:
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return whole(self, *batch)

    monkeypatch.setattr(EagerForwardBackward, "__call__", waits)
    with pytest.raises(InputError, match=r"cannot be recorded as a CUDA graph .*--no-cuda-graphs"):
        trained(tiny_config(), tiny_beton, tmp_path)
