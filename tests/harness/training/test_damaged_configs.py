"""Damaged and absurd configs: a config or an InputError, never a traceback, a hang or a gigabyte of memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzed_child import Feed, changed, damaged, fuzzed
from hypothesis import HealthCheck, given, settings
from tiny_runs import attention_transfer, tiny_config

from datasets.errors import InputError
from harness.config import to_dict
from harness.training.config_file import load_config

TOML = b"""
seed = 1
[data]
dataset = "chestxray14"
subset = "1k"
[network]
name = "densenet121"
scope = "last34"
[init]
kind = "imagenet"
[objective]
method = "attention_transfer"
beta = 1000.0
[objective.teacher]
kind = "imagenet"
[schedule]
preset = "paper"
epochs = 16
learning_rate = 1e-4
[runtime]
precision = "fp32"
num_workers = 2
"""
EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def load(given: tuple[str, bytes]) -> None:
    suffix, content = given
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run.{suffix}"
        path.write_bytes(content)
        config, _ = load_config(path)
        json.dumps(to_dict(config), allow_nan=False)  # what is accepted must be writable


@pytest.fixture(scope="module")
def loaded() -> Iterator[Feed]:
    with fuzzed(load, (InputError,)) as feed:
        yield feed


def test_the_undamaged_config_is_accepted() -> None:
    load(("toml", TOML))


@EXAMPLES
@given(content=damaged([TOML]))
def test_damaged_toml(loaded: Feed, content: bytes) -> None:
    loaded(("toml", content))


@EXAMPLES
@given(document=changed([to_dict(tiny_config()), to_dict(tiny_config(objective=attention_transfer(1.0)))]))
def test_odd_values(loaded: Feed, document: Any) -> None:
    loaded(("json", json.dumps(document).encode()))


@pytest.mark.parametrize("content", ["[" * 5000, '{"a":' * 5000, "[" * 100_000])
def test_nested_brackets(loaded: Feed, content: str) -> None:
    loaded(("json", content.encode()))
    loaded(("toml", b"a = " + content.encode()))
