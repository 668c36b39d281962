"""Damaged and absurd grid files: a grid or an InputError, never a traceback, a hang or a gigabyte of memory."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzed_child import Feed, changed, damaged, fuzzed
from hypothesis import HealthCheck, given, settings

from datasets.errors import InputError
from harness.config import to_dict
from launch.grids.registry import load_grid

EXAMPLE = (Path(__file__).resolve().parents[3] / "docs" / "grids" / "sizes.toml").read_bytes()
EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def load(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.toml"
        path.write_bytes(content)
        for run in load_grid(str(path)).runs:
            json.dumps(to_dict(run.config), allow_nan=False)


def toml(value: Any) -> str:
    """A value as TOML writes it inline; what TOML does not have comes out as no TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if isinstance(value, float) else json.dumps(value)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Feed]:
    with fuzzed(load, (InputError,)) as feed:
        yield feed


def test_the_undamaged_grid_is_accepted_in_either_form() -> None:
    load(EXAMPLE)
    load("\n".join(f"{key} = {toml(value)}" for key, value in tomllib.loads(EXAMPLE.decode()).items()).encode())


@EXAMPLES
@given(content=damaged([EXAMPLE]))
def test_damaged_toml(loaded: Feed, content: bytes) -> None:
    loaded(content)


@EXAMPLES
@given(document=changed([tomllib.loads(EXAMPLE.decode())]))
def test_odd_values(loaded: Feed, document: Any) -> None:
    loaded("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()).encode())


@pytest.mark.parametrize("content", ["seeds = 1" + "0" * 5000, "seeds = 1000000000000000000", "a = " + "[" * 5000])
def test_absurd_numbers_and_depth(loaded: Feed, content: str) -> None:
    loaded(EXAMPLE.replace(b"seeds", b"#") + b"\n" + content.encode())
    loaded(content.encode() + b"\n" + EXAMPLE)
