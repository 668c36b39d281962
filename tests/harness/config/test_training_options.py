"""Options of training: off they leave every identity as it was; wrong values are refused in one line."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import InputError
from harness.config import (
    AttentionTransfer,
    DataConfig,
    RunConfig,
    Schedule,
    Weights,
    chexclusion,
    from_dict,
    to_dict,
)

PAPER = RunConfig(data=DataConfig(dataset="chexpert"))
TEACHER = RunConfig(data=DataConfig(dataset="mimic_cxr"), schedule=chexclusion())
STUDENT = RunConfig(
    data=DataConfig(dataset="chexpert", subset="1k"),
    objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=10.0),
)
CHANGED: dict[str, dict[str, Any]] = {
    "schedule": {
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "warmup_epochs": 0.5,
        "accumulate": 2,
        "ema_decay": 0.999,
    },
    "data": {
        "balance": "Edema",
        "scale": 0.1,
        "crop": 0.2,
        "brightness": 0.1,
        "contrast": 0.2,
    },
    "loss": {
        "positive_weights": {"Edema": 2.0},
        "label_smoothing": 0.1,
        "uncertain": {"Edema": "one", "Fracture": "smoothed"},
        "uncertain_target": 0.6,
        "mixup": 0.2,
    },
}
"""Each option with a value other than its default, by its table."""


def test_without_the_options_a_run_has_the_hash_that_it_always_had() -> None:
    assert PAPER.hash == "0bfd92c404e5c30f369beee9cc5fc458f0bdc968213675ba9314ce225c4df589"
    assert STUDENT.hash == "6b6ecb7ccb048bcef7b0e1839c679a66ab3851a0262d046017f50909e3bfcd66"


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, keys in CHANGED.items() for key in keys])
def test_each_option_enters_the_hash_and_survives_a_file(table: str, key: str) -> None:
    values = to_dict(PAPER)
    assert key not in values.get(table, {})
    if key == "uncertain_target":
        values["loss"] = {"uncertain": CHANGED["loss"]["uncertain"]}  # without it there is no such target
    before = from_dict(values, where="run.toml")
    values.setdefault(table, {})[key] = CHANGED[table][key]
    changed = from_dict(values, where="run.toml")
    assert changed.hash != before.hash
    assert from_dict(to_dict(changed), where="config.json") == changed


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("schedule", {"optimizer": "adagrad"}, "schedule.optimizer: .*'adam', 'adamw' or 'sgd', found 'adagrad'"),
        ("schedule", {"policy": "cosin"}, "'step', 'plateau' or 'cosine', found 'cosin'"),
        ("schedule", {"momentum": 0.9}, "schedule.momentum needs schedule.optimizer = 'sgd'"),
        ("schedule", {"optimizer": "sgd", "momentum": 1.0}, "schedule.momentum must lie in 0..1, below 1"),
        ("schedule", {"weight_decay": -0.1}, "schedule.weight_decay must not be negative"),
        ("schedule", {"epochs": 2, "warmup_epochs": 2.0}, "warmup_epochs = 2 must be below schedule.epochs = 2"),
        ("schedule", {"accumulate": 5}, "batch_size = 32 must be a multiple of schedule.accumulate = 5"),
        ("schedule", {"ema_decay": 1.0}, "schedule.ema_decay must lie between 0 and 1"),
        (
            "loss",
            {"positive_weight": "prevalence"},
            "loss.positive_weight: unknown key; did you mean positive_weights",
        ),
        ("loss", {"positive_weights": "prevalense"}, "loss.positive_weights: .*'prevalence', found 'prevalense'"),
        ("loss", {"positive_weights": {"Edema": 0.0}}, "loss.positive_weights.Edema must be positive"),
        ("loss", {"uncertain": {"Edema": "maybe"}}, "loss.uncertain: .*found {'Edema': 'maybe'}"),
        ("loss", {"uncertain": "maybe"}, "'zero', 'one', 'ignore' or 'smoothed', found 'maybe'"),
        ("loss", {"uncertain_target": 0.5}, "loss.uncertain_target needs loss.uncertain = 'smoothed'"),
        ("loss", {"uncertain": "smoothed", "uncertain_target": 1.5}, "loss.uncertain_target must lie in 0..1"),
        ("data", {"scale": 0.6}, "data.scale must lie in 0..0.5"),
        ("data", {"crop": -0.1}, "data.crop must lie in 0..0.9"),
        ("data", {"brightness": 1.5}, "data.brightness must lie in 0..1"),
        ("data", {"contrast": float("nan")}, "data.contrast must lie in 0..1"),
        ("data", {"balance": ""}, "data.balance = '' names no label and no attribute"),
        ("loss", {"label_smoothing": 1.0}, "loss.label_smoothing must lie in 0..1, below 1"),
        ("loss", {"mixup": -1.0}, "loss.mixup must not be negative"),
    ],
)
def test_wrong_values_are_refused_in_one_line(table: str, values: dict[str, Any], message: str) -> None:
    config: dict[str, dict[str, Any]] = {"data": {"dataset": "chexpert"}}
    config[table] = config.get(table, {}) | values
    with pytest.raises(InputError, match=message) as caught:
        from_dict(config, where="run.toml")
    assert str(caught.value).startswith("run.toml: ")
    assert "\n" not in str(caught.value)


def test_the_documented_options_are_a_config() -> None:
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    block = page.split("# options.toml\n")[1].split("```")[0]
    config = from_dict(tomllib.loads(block), where="docs/training.md")
    assert (config.schedule.optimizer, config.schedule.accumulate, config.loss.mixup) == ("adamw", 2, 0.2)
    named = {f"{table}.{key}" for table, keys in to_dict(config).items() if isinstance(keys, dict) for key in keys}
    told = {f"{table}.{key}" for table, keys in CHANGED.items() for key in keys}
    assert told - named == {"loss.uncertain", "loss.uncertain_target"}, "which the page tells in words"


def test_sgd_takes_a_momentum() -> None:
    assert dataclasses.replace(Schedule(optimizer="sgd"), momentum=0.0).momentum == 0.0
