"""The step benchmark on tiny images: every loop runs, and the object has the ratios that are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.common.pictures import Pictures
from benchmarks.page.sections import STEP_COLUMNS, step_section
from benchmarks.step.bench import BenchStep
from benchmarks.step.careful import Careful
from benchmarks.step.case import CASES, EPOCH, STEP, VALIDATION, WHOLE, Case, step_ratios, step_table
from benchmarks.step.cycles import Cycles
from benchmarks.step.device import device_rates, work_of
from datasets.errors import InputError

RATIOS = {
    "transfer_learning_121",
    "attention_transfer_121",
    "transfer_learning_40",
    "attention_transfer_40",
    "attention_transfer_121_over_careful",
    "transfer_learning_121_over_careful",
    "validation",
    "peak_memory_attention_transfer_121",
    "data_wait_share",
    "overhead_share",
}


def rate(images_per_s: float, **more: float) -> dict[str, float]:
    return {"images": images_per_s, "seconds": 1.0, "peak_bytes": 2.0, **more}


def test_ratios_are_of_medians_and_absent_ones_are_none():
    one, transfer, forty = "transfer_learning_121", "attention_transfer_121", "transfer_learning_40"
    found = step_ratios(
        {
            (one, "ours", WHOLE): [rate(8), rate(6), rate(1)],
            (one, "baseline", WHOLE): [rate(2), rate(3), rate(9)],
            (one, "ours", STEP): [rate(1, overhead_s=0.01), rate(1, overhead_s=0.03), rate(1, overhead_s=0.02)],
            (forty, "ours", STEP): [rate(1, overhead_s=0.015)],
            (one, "ours", VALIDATION): [rate(10)],
            (one, "baseline", VALIDATION): [rate(4)],
            (transfer, "ours", WHOLE): [rate(1), rate(1, peak_bytes=3.0)],
            (transfer, "baseline", WHOLE): [rate(1, peak_bytes=6.0)],
            (forty, "ours", EPOCH): [rate(1, data_wait_s=0.002)],
            (transfer, "ours_compiled", WHOLE): [rate(5)],
            (transfer, "careful_compiled", WHOLE): [rate(4)],
        }
    )
    assert set(found) >= RATIOS
    measured = {name: value for name, value in found.items() if value is not None}
    assert measured == {
        one: 2.0,
        transfer: 1.0,
        "validation": 2.5,
        "peak_memory_attention_transfer_121": 0.5,
        "data_wait_share": 0.002,
        "overhead_share": 0.02,
        "attention_transfer_121_compiled": 5.0,
        "attention_transfer_121_both_compiled": 1.25,
        "attention_transfer_121_over_careful_compiled": 0.25,
    }


def test_the_clock_runs_from_the_first_batch_to_the_one_after_the_last():
    """Each batch takes 10 s to come and 100 s to compute; the first one's 10 s count for nobody."""
    now = 0.0

    def stream():
        nonlocal now
        for number in range(9):
            now += 10.0
            yield number

    cycles = Cycles(stream(), 2, clock=lambda: now)
    seen = []
    for number in cycles:
        seen.append(number)
        now += 100.0
    assert seen == [0, 1]
    assert (cycles.seconds, cycles.waited_s) == (220.0, 20.0)
    assert next(cycles, None) is None
    whole = Cycles(stream(), 2, passes_last=True, clock=lambda: now)
    assert list(whole) == [0, 1, 2]


def test_a_stream_that_ends_before_the_clock_gives_no_time():
    cycles = Cycles(iter([1, 2]), 2)
    assert list(cycles) == [1, 2]
    with pytest.raises(RuntimeError, match="more samples"):
        _ = cycles.seconds


def test_torch_compile_is_measured_for_densenet_121_alone():
    options = BenchStep(compiled=True)
    assert [len(options.loops_of(case)) for case in CASES] == [5, 5, 3, 3]
    assert [len(replace(options, device="cuda").loops_of(case)) for case in CASES] == [7, 7, 4, 4]
    chosen = replace(options, loops=("ours_compiled", "careful"))
    assert [chosen.loops_of(case) for case in CASES[1:3]] == [["careful", "ours_compiled"], ["careful"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "must be above 0"),
        ({"size": 100}, "multiple of 32"),
        ({"samples": 191}, "must be at least 192"),
        ({"only": ("everything",)}, "known: transfer_learning_121"),
        ({"loops": ("mine",)}, "known: baseline, careful, ours, ours_eager, careful_compiled, ours_compiled, ours_"),
        ({"device": "cuda", "steps": 2, "samples": 767}, "must be at least 768"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        BenchStep(**{"device": "cpu"} | changes).checked(changes.get("device", "cpu"))


def test_the_baseline_is_still_known_by_its_old_name():
    assert BenchStep(device="cpu", loops=("reference", "ours")).resolved().loops == ("baseline", "ours")


@pytest.mark.slow
def test_every_loop_runs_on_tiny_images(tmp_path: Path) -> None:
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 36), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    options = BenchStep(images=tmp_path, device="cpu", rounds=1, steps=1, samples=128, size=32, workers=1)
    cases = ("transfer_learning_121", "transfer_learning_40")
    kept: list[dict[str, Any]] = []
    found = replace(options, only=cases).measure(kept.append)
    assert set(found["ratios"]) >= RATIOS
    assert len(found["rows"]) == 9 + 8 and all(row["images_per_s"] > 0 for row in found["rows"])
    for share in ("overhead_share", "data_wait_share", "data_wait_share_streamed"):
        assert 0 < found["ratios"][share] < 1
    ours = [step for step in found["steps"] if step["loop"] == "ours"]
    assert [set(step) for step in ours] == [
        {*STEP_COLUMNS, "case", "loop"},
        {*STEP_COLUMNS, "case", "loop"} - {"validation_ms"},
    ]
    assert all(value > 0 for step in ours for name, value in step.items() if name not in ("case", "loop"))
    assert all(0 < step["matmul_share"] < 1 for step in ours)
    section = step_section(found)
    assert "### Where a step's time goes" in section and section.count("| transfer_learning_40 | ours |") == 1
    assert found["environment"]["kind"] == "step" and found["environment"]["samples"] == 128
    assert [len(document["rows"]) for document in kept] == [9, 17] and kept[-1]["ratios"] == found["ratios"]


def test_shares_are_of_the_measured_rates() -> None:
    """A step of 0.5 s that needs 4 operations and 3 bytes, on a device of 16 and 8 a second."""
    name = "transfer_learning_121"
    measured = {
        (name, "ours", WHOLE): [{"seconds": 1.0, "steps": 2, "peak_bytes": 7.0}],
        (name, "ours", VALIDATION): [{"seconds": 3.0, "steps": 2, "peak_bytes": 9.0}],
        (name, "baseline", WHOLE): [{"seconds": 4.0, "steps": 2, "peak_bytes": 5.0}],
    }
    device, work = {"matmul_per_s": 16.0, "bytes_per_s": 8.0}, {name: {"flops": 4.0, "bytes": 3.0}}
    ours, baseline = step_table(measured, device, work)
    assert ours == {
        "case": name,
        "loop": "ours",
        "step_ms": 500.0,
        "peak_bytes": 7.0,
        "validation_ms": 1500.0,
        "matmul_share": 0.5,
        "memory_share": 0.75,
    }
    assert baseline == {"case": name, "loop": "baseline", "step_ms": 2000.0, "peak_bytes": 5.0}


def test_the_operations_and_bytes_of_a_product_are_counted() -> None:
    """(2, 3) by (3, 4): 2 * 2 * 3 * 4 operations; 6 + 12 + 8 numbers of 4 bytes; its transposed view moves none."""
    a, b = torch.ones(2, 3), torch.ones(3, 4)
    assert work_of(lambda: torch.mm(a, b).t()) == {"flops": 48.0, "bytes": 104.0}
    rates = device_rates(torch.device("cpu"))
    assert min(rates.values()) > 1e6


def test_the_careful_loop_compiles_its_teacher_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch.compile, which takes minutes, stands aside; the step is that of the loop without it."""
    compiled: list[str] = []

    def compile_nothing(function: Any, *, mode: str) -> Any:
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(Careful, "start_loaders", lambda *_: None)
    monkeypatch.setattr(Careful, "stream", lambda *_, **__: iter(()))
    files = dict.fromkeys(("folder", "beton", "jpeg_beton"), str(tmp_path))
    pictures = Pictures(**files, png=(), jpeg=(), size=32, batch_size=2, workers=1)
    images, targets = torch.randn(2, 3, 32, 32), torch.ones(2, 14)
    ends = []
    for with_compile in (False, True):
        torch.manual_seed(0)
        case = Case("densenet40", "attention_transfer")
        careful = Careful(case, pictures, torch.device("cpu"), precision="fp32", compiled=with_compile)
        careful.step(images, targets)
        ends.append(torch.cat([value.flatten() for value in careful.network.parameters()]))
    assert compiled == ["_logits_and_planes", "_teacher_planes"]
    assert torch.equal(*ends)


@pytest.mark.parametrize("option", ["steps", "samples"])
def test_zero_is_refused_on_the_command_line_and_not_taken_for_the_default(option):
    with pytest.raises(InputError, match="must be above 0"):
        BenchStep(device="cpu", **{option: 0}).run()
