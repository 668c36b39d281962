"""Whole runs on a GPU: recorded steps, exact resume, precisions and tiers, as the CPU's tests have them."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerator_state import forget_accelerator
from on_gpu import assert_same, trained
from stopped_runs import command, run
from tiny_runs import (
    all_options,
    attention_transfer,
    tiny_config,
    tiny_runtime,
    tiny_schedule,
    without_times,
    write_xrv,
)

from harness.config import (
    AttentionTransfer,
    ChannelWise,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Relational,
    RunConfig,
    TransferLearning,
    Weights,
)
from harness.evaluation.evaluate import evaluate_run
from harness.runs.folder import RunFolder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
NONE = Weights(kind="none")


def both_ways(config: RunConfig, beton: Path, runs_dir: Path, **runtime: Any) -> tuple[RunFolder, RunFolder]:
    """The run with its steps recorded, and step by step."""
    recorded, eager = (
        trained(config, beton, runs_dir / str(graphs), cuda_graphs=graphs, **runtime) for graphs in (True, False)
    )
    return recorded, eager


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "objective",
    [
        TransferLearning(),
        attention_transfer(0.5),
        FitNet(teacher=NONE),
        Relational(teacher=NONE),
        ChannelWise(teacher=NONE),
    ],
    ids=lambda objective: objective.method,
)
def test_recorded_steps_give_the_bits_of_steps_one_by_one(
    objective: Any,
    precision: str,
    tiny_beton: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config(objective=objective)
    assert_same(*both_ways(config, tiny_beton, tmp_path, precision=precision))
    assert "not recorded" not in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", [AttentionTransfer, LogitDistillation, FitNet])
def test_recorded_steps_with_a_teacher_of_torchxrayvision(
    method: Any, precision: str, tiny_beton: Path, tmp_path: Path
) -> None:
    """Its one input channel and its labels: logits of the shared ones are distilled."""
    weights, file = write_xrv(tmp_path)
    config = tiny_config(objective=method(teacher=weights, weight=0.5))
    assert_same(*both_ways(config, tiny_beton, tmp_path, precision=precision, xrv_weights=(file,)))


@pytest.mark.parametrize("kind", ["options", "sync_bn", "frozen"])
def test_recorded_steps_with_options_of_training(kind: str, tiny_beton: Path, tmp_path: Path) -> None:
    """Accumulated steps, averaged weights, mixup, soft targets; a batch norm to synchronise; frozen layers."""
    networks = {"sync_bn": {"sync_bn": True}, "frozen": {"scope": "classifier", "frozen_bn": "eval"}}
    name = "torchvision/resnet18" if kind == "frozen" else "densenet40"
    config = tiny_config(network=NetworkConfig(name=name, **networks.get(kind, {})))
    assert_same(*both_ways(all_options(config) if kind == "options" else config, tiny_beton, tmp_path))


def test_recorded_steps_of_densenet_121_with_its_first_layers_frozen(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(
        network=NetworkConfig(name="densenet121", scope="last34", frozen_bn="eval"), objective=attention_transfer(0.5)
    )
    assert_same(*both_ways(config, tiny_beton, tmp_path))


@pytest.mark.parametrize("graphs", [True, False])
def test_stopped_at_random_steps_a_run_ends_with_the_same_bits(
    graphs: bool, tiny_beton: Path, tmp_path: Path
) -> None:
    config = tiny_config(epochs=3, objective=attention_transfer(0.5))
    whole = trained(config, tiny_beton, tmp_path / "whole", cuda_graphs=graphs)
    options = ["--precision", "bf16"] if graphs else ["--precision", "bf16", "--no-cuda-graphs"]
    arguments = command(config, tiny_beton, tmp_path / "parts", *options)
    arguments[arguments.index("cpu")] = "cuda"
    for stop, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -9), (signal.SIGINT, 130)):
        ended = run(arguments, stop=stop, at_step=random.randint(1, 2), CUDA_VISIBLE_DEVICES="0")
        assert ended.returncode == status, ended.stderr
    ended = run(arguments, CUDA_VISIBLE_DEVICES="0")
    assert ended.returncode == 0, ended.stderr
    assert_same(RunFolder(tmp_path / "parts" / config.run_id), whole)


def test_float32_is_the_cpu_s_and_tf32_is_not(tiny_beton: Path, tmp_path: Path) -> None:
    """Both run the same few steps; float32 stays within rounding of the CPU, tf32 is said to be what it is."""
    config = tiny_config(epochs=1, schedule=tiny_schedule(1, learning_rate=1e-5))
    losses, said = {}, {}
    for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "tf32")):
        folder = trained(config, tiny_beton, tmp_path / device / precision, device=device, precision=precision)
        (line,) = folder.metrics()
        losses[device, precision] = line["train"]["loss"]
        said[device, precision] = json.loads(folder.provenance_file.read_text())["precision"]
    assert losses["cuda", "fp32"] == pytest.approx(losses["cpu", "fp32"], abs=2e-3)  # augmented by another device
    assert losses["cuda", "tf32"] == pytest.approx(losses["cuda", "fp32"], abs=1e-2)
    assert losses["cuda", "tf32"] != losses["cuda", "fp32"]
    assert said == {("cpu", "fp32"): "fp32", ("cuda", "fp32"): "fp32", ("cuda", "tf32"): "tf32"}


def test_the_tier_changes_no_bit(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config()
    raw, resident = (trained(config, tiny_beton, tmp_path / tier, tier=tier) for tier in ("raw", "resident"))
    assert_same(raw, resident)


def test_the_cpu_scores_a_run_of_the_gpu_alike(tiny_beton: Path, tmp_path: Path) -> None:
    folder = trained(tiny_config(), tiny_beton, tmp_path, precision="fp32")
    logits = []
    for device in ("cuda", "cpu"):
        forget_accelerator()
        found = evaluate_run(folder, "test", tiny_runtime(tiny_beton, tmp_path, device=device))
        logits.append(found["mean_auroc"])
    assert logits[0] == pytest.approx(logits[1], abs=1e-6)
    predictions = pd.read_parquet(folder.predictions_file)
    assert len(predictions) == 18 and np.isfinite(predictions.filter(like="logit:").to_numpy()).all()


def test_a_compiled_run_learns_nearly_the_same_and_goes_on_exactly(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config()
    plain, compiled, again = (
        trained(config, tiny_beton, tmp_path / name, compile=name != "plain") for name in ("plain", "first", "second")
    )
    assert_same(compiled, again)
    losses = [[line["train"]["loss"] for line in without_times(folder)] for folder in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_a_loss_that_is_no_number_is_found_within_recorded_steps(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(epochs=1, schedule=tiny_schedule(1, learning_rate=1e30))
    with pytest.raises(FloatingPointError, match=r"not finite at step [12] of epoch 0"):
        trained(config, tiny_beton, tmp_path, precision="fp32")


def test_a_profile_shows_the_device_s_kernels(tiny_beton: Path, tmp_path: Path) -> None:
    folder = trained(tiny_config(), tiny_beton, tmp_path, profile=True)
    events = json.loads(folder.trace_file.read_text())["traceEvents"]
    assert sum(event.get("cat") == "kernel" for event in events) > 300
    (line, *_) = folder.metrics()
    assert line["peak_cuda_bytes"] > 10e6


def test_too_little_memory_is_one_line(tiny_beton: Path, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(100e6 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(MemoryError, match="out of GPU memory at a batch of 16 per process"):
            trained(tiny_config(network=NetworkConfig(name="densenet121")), tiny_beton, tmp_path, precision="fp32")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
