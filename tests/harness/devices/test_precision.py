"""Fifty steps in float32, bfloat16 and float16 stay together; float16's scaler leaves a step out, and is resumed."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerator_state import forget_accelerator
from arithmetic import needs
from plain_network import plain_components
from tiny_runs import SIZE, interrupted, tiny_config, tiny_runtime, tiny_schedule, without_times

from datasets.errors import InputError
from datasets.files import read_json
from harness.config import DataConfig
from harness.devices.accelerator import Accelerator, make_accelerator
from harness.devices.precision import arithmetic_problem, chosen_precision, cpu_has_bf16, own_precision
from harness.runs.checkpoint import Learner, load_last, save_last
from harness.runs.runtime import Precision, RuntimeConfig
from harness.runs.train_state import TrainState
from harness.training.optimizer import OptimizerStep
from harness.training.run import train_run


@needs("bf16")
def test_bf16_stays_near_fp32_over_fifty_steps(tiny_beton: Path, tmp_path: Path) -> None:
    """DenseNet-40, 5 epochs of 10 steps of 4 images: losses of an epoch within 0.05, of about 0.7."""
    config = tiny_config(schedule=tiny_schedule(5, batch_size=4, learning_rate=1e-4))
    losses = []
    for precision in ("fp32", "bf16"):
        runtime = tiny_runtime(tiny_beton, tmp_path / precision, precision=precision)
        train_run(config, runtime)
        lines = without_times(runtime.folder_of(config))
        assert lines[-1]["step"] == 50
        losses.append([line["train"]["loss"] for line in lines])
        forget_accelerator()
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_the_scaler_leaves_out_an_overflowing_step_and_is_resumed(tiny_beton: Path, tmp_path: Path) -> None:
    """The logic of float16 on the CPU, where torch has the scaler but Accelerate does not switch it on."""
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    parts = plain_components(accelerator, tiny_beton)
    take_step = OptimizerStep(accelerator, parts.optimizer, parts.network, None, parts.runtime)
    before = [parameter.clone() for parameter in parts.network.parameters()]

    def left_out(factor: float) -> bool:
        output = parts.network(torch.ones(2, 3, 64, 64))
        accelerator.scaler.scale(output.logits.sum() * factor).backward()
        return bool(take_step())

    assert left_out(float("inf"))
    assert all(torch.equal(a, b) for a, b in zip(before, parts.network.parameters(), strict=True))
    assert accelerator.scaler.get_scale() == 512.0
    assert not left_out(1.0)
    assert not all(torch.equal(a, b) for a, b in zip(before, parts.network.parameters(), strict=True))
    learner = Learner(network=parts.network, optimizer=parts.optimizer.optimizer, scaler=accelerator.scaler)
    save_last(tmp_path / "last", learner.contents(), TrainState(), {})
    fresh = torch.amp.GradScaler("cpu")
    load_last(tmp_path / "last", dataclasses.replace(learner, scaler=fresh), {})
    assert fresh.state_dict() == accelerator.scaler.state_dict()


@needs("fp16")
def test_fp16_with_its_scaler_stays_near_fp32_over_fifty_steps(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the test of bf16, with 2 images a step and float16 on the CPU, where most machines compute it slowly.

    Torch has it there, Accelerate does not switch it on.
    """
    few = DataConfig(dataset="chestxray14", image_size=SIZE, subset="20")
    config = tiny_config(data=few, schedule=tiny_schedule(5, batch_size=2, learning_rate=1e-4))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=20)  # too large for the first steps

    def in_half(runtime: RuntimeConfig, before: Precision | None) -> Accelerator:
        accelerator = make_accelerator(runtime, before)
        accelerator.scaler = scaler
        monkeypatch.setattr(accelerator, "autocast", lambda *_, **__: torch.autocast("cpu", torch.float16))
        return accelerator

    losses = []
    for precision in ("fp32", "fp16"):
        if precision == "fp16":
            monkeypatch.setattr("harness.training.run.make_accelerator", in_half)
        runtime = tiny_runtime(tiny_beton, tmp_path / precision)
        train_run(config, runtime)
        lines = without_times(runtime.folder_of(config))
        assert lines[-1]["step"] + sum(line["skipped_steps"] for line in lines) == 50
        losses.append([line["train"]["loss"] for line in lines])
        forget_accelerator()
    assert 0 < sum(line["skipped_steps"] for line in lines) < 10
    assert scaler.get_scale() < 2.0**24
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fp16_stays_near_fp32_on_a_gpu(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(schedule=tiny_schedule(5, batch_size=4, learning_rate=1e-4))
    losses = []
    for precision in ("fp32", "fp16"):
        runtime = tiny_runtime(tiny_beton, tmp_path / precision, precision=precision, device="cuda")
        train_run(config, runtime)
        losses.append([line["train"]["loss"] for line in without_times(runtime.folder_of(config))])
        forget_accelerator()
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_a_profile_is_a_trace_of_a_few_steps(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config()
    runtime = tiny_runtime(tiny_beton, tmp_path, profile=True)
    train_run(config, runtime)
    folder = runtime.folder_of(config)
    events = json.loads(folder.trace_file.read_text())["traceEvents"]
    steps = {event["name"] for event in events if str(event.get("name", "")).startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#2", "ProfilerStep#3", "ProfilerStep#4"}
    (line, *_) = folder.metrics()
    assert line["peak_rss_bytes"] > 100e6
    assert line["peak_cuda_bytes"] is None or torch.cuda.is_available()
    assert line["skipped_steps"] == 0


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("model name\t: a processor that names no flags", True),
    ],
)
def test_whether_a_processor_computes_in_bfloat16_is_read_off_its_flags(line: str, has: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert cpu_has_bf16(tmp_path / "cpuinfo") is has


@needs("bf16")
@pytest.mark.parametrize(("has", "chosen", "notes"), [(True, "bf16", 0), (False, "fp32", 1)])
def test_auto_is_the_fastest_that_the_device_computes_in_by_itself(
    has: bool, chosen: str, notes: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("harness.devices.precision.cpu_has_bf16", lambda: has)
    assert chosen_precision("auto", use_cuda=False) == chosen
    assert chosen_precision("bf16", use_cuda=False) == "bf16"
    assert caplog.text.count("this processor has no arithmetic for bfloat16") == notes


def test_what_a_processor_cannot_compute_in_is_found_by_doing_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch does on a processor with AVX2 alone."""

    def conv2d(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("mkldnn_convolution: bf16 path needs the cpu support avx512bw\nand so on")
        return torch.nn.functional.conv2d(images, weight)

    monkeypatch.setattr("harness.devices.precision.F", SimpleNamespace(conv2d=conv2d))
    arithmetic_problem.cache_clear()
    try:
        with pytest.raises(InputError) as caught:
            chosen_precision("bf16", use_cuda=False)
        assert str(caught.value) == (
            "precision bf16: this processor cannot compute in it (mkldnn_convolution: bf16 path needs the cpu "
            "support avx512bw); use fp32 or auto"
        )
        assert chosen_precision("auto", use_cuda=False) == "fp32"
        assert chosen_precision("fp32", use_cuda=False) == "fp32"
        assert own_precision("bf16", "cpu") == "fp32"
    finally:
        arithmetic_problem.cache_clear()


@needs("bf16")
@pytest.mark.parametrize(("begun", "has"), [("fp32", True), ("bf16", False)])
def test_a_run_goes_on_in_the_precision_it_began_in_whatever_auto_would_choose_now(
    begun: str,
    has: bool,
    tiny_beton: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with a run that an older version began in its default, or one that moves to another processor."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("harness.devices.precision.cpu_has_bf16", lambda: has)
    config, runtime = tiny_config(), tiny_runtime(tiny_beton, tmp_path, precision=begun)
    interrupted(config, runtime, after_epochs=1)
    forget_accelerator()
    caplog.clear()
    train_run(config, dataclasses.replace(runtime, precision="auto"))
    assert f"training on cpu, 1 threads in {begun} (in which it began)" in caplog.text
    provenance = read_json(runtime.folder_of(config).provenance_file)
    assert (provenance["precision"], provenance["precisions"]) == (begun, [begun])


@needs("bf16")
def test_another_precision_is_used_when_it_is_asked_for_and_recorded(
    tiny_beton: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config, runtime = tiny_config(), tiny_runtime(tiny_beton, tmp_path)
    interrupted(config, runtime, after_epochs=1)
    forget_accelerator()
    train_run(config, dataclasses.replace(runtime, precision="bf16"))
    assert "in bf16 (as asked; its steps so far were in fp32)" in caplog.text
    provenance = read_json(runtime.folder_of(config).provenance_file)
    assert (provenance["precision"], provenance["precisions"]) == ("bf16", ["fp32", "bf16"])


@needs("bf16")
@pytest.mark.parametrize(
    ("has", "line"),
    [
        (True, "bf16 (auto: the device computes in bfloat16)"),
        (False, "fp32 (auto: the device has no bfloat16)"),
    ],
)
def test_a_new_run_computes_in_what_the_device_has_and_says_so(
    has: bool, line: str, tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("harness.devices.precision.cpu_has_bf16", lambda: has)
    runtime = tiny_runtime(tiny_beton, tmp_path, precision=RuntimeConfig().precision)
    train_run(tiny_config(epochs=1), runtime)
    assert f"training on cpu, 1 threads in {line}" in caplog.text
    assert read_json(runtime.folder_of(tiny_config(epochs=1)).provenance_file)["precision"] == line.split()[0]


def test_a_run_whose_precision_this_device_lacks_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        InputError, match=r"the run began in tf32: precision tf32 needs a GPU.*; give --precision to c"
    ):
        chosen_precision("auto", use_cuda=False, before="tf32")
    assert chosen_precision("fp32", use_cuda=False, before="tf32") == "fp32"
    assert own_precision("tf32", "cpu") == own_precision("odd", "cpu") == "fp32"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_what_the_cpu_cannot_do_is_refused(precision: str) -> None:
    with pytest.raises(InputError, match=f"precision {precision} needs a GPU"):
        chosen_precision(precision, use_cuda=False)
