"""The number of processes that a launcher started, from its environment."""

from __future__ import annotations

import pytest

from datasets.errors import InputError
from harness.runs.runtime import launched_processes

LAUNCHED = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_launcher_says_how_many_it_started(environment: pytest.MonkeyPatch) -> None:
    assert launched_processes() == 1
    for name, value in LAUNCHED.items():
        environment.setenv(name, value)
    assert launched_processes() == 2


@pytest.mark.parametrize("text", ["", "0", "-2", "two", "1.5"])
def test_a_world_size_that_is_no_count_is_named(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("WORLD_SIZE", text)
    with pytest.raises(InputError, match=r"WORLD_SIZE = .* expected a number of processes"):
        launched_processes()


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_half_a_launcher_is_told(environment: pytest.MonkeyPatch, name: str) -> None:
    for other, value in LAUNCHED.items():
        if other != name:
            environment.setenv(other, value)
    with pytest.raises(InputError, match=f"{name} is not set"):
        launched_processes()
