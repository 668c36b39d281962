"""The step benchmark on tiny images: every loop runs, and the object has the ratios that are asked for."""

from __future__ import annotations

import pytest

from benchmarks.step import STEP, VALIDATION, WHOLE, Settings, bench_step, step_ratios
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
            (one, "reference", WHOLE): [rate(2), rate(3), rate(9)],
            (one, "ours", STEP): [rate(1, overhead_s=0.01), rate(1, overhead_s=0.03), rate(1, overhead_s=0.02)],
            (one, "ours", VALIDATION): [rate(10)],
            (one, "reference", VALIDATION): [rate(4)],
            (transfer, "ours", STEP): [rate(1), rate(1, peak_bytes=3.0)],
            (transfer, "reference", STEP): [rate(1, peak_bytes=6.0)],
            (forty, "ours", WHOLE): [rate(1, data_wait_s=0.002)],
        }
    )
    assert set(found) >= RATIOS
    measured = {name: value for name, value in found.items() if value is not None}
    assert measured == {
        one: 2.0,
        "attention_transfer_121_loader_free": 1.0,
        "validation": 2.5,
        "peak_memory_attention_transfer_121": 0.5,
        "data_wait_share": 0.002,
        "overhead_share": 0.02,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "must be above 0"),
        ({"size": 100}, "multiple of 32"),
        ({"samples": 8}, "--steps times --batch-size"),
        ({"only": ("everything",)}, "known: transfer_learning_121"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Settings(**changes)


@pytest.mark.slow
def test_every_loop_runs_on_tiny_images():
    settings = Settings(rounds=1, steps=1, samples=4, size=64, batch_size=4, only=("transfer_learning_121",))
    found = bench_step(None, settings)
    assert set(found) == {"environment", "rows", "ratios"} and set(found["ratios"]) >= RATIOS
    assert len(found["rows"]) == 9 and all(row["images_per_s"] > 0 for row in found["rows"])
    assert 0 < found["ratios"]["overhead_share"] < 1
    assert found["environment"]["kind"] == "step"
