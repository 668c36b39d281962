"""Registries: order, refusals, and entries of other packages."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from datasets.registry import Registry


def test_entries_come_in_order_and_a_name_is_taken_once() -> None:
    registry = Registry[int]("thing", "cxr_harness.test_things")
    registry.add("b", 2)
    registry.add("a", 1)
    registry.add("a", 1)
    assert dict(registry) == {"b": 2, "a": 1}
    with pytest.raises(ValueError, match="the thing 'a' is registered twice"):
        registry.add("a", 3)
    registry.check("thing.name", "a")
    with pytest.raises(ValueError, match=r"thing\.name = 'c' is unknown; known: b, a"):
        registry.check("thing.name", "c")
    registry.remove("a")
    assert list(registry) == ["b"]


def test_other_packages_add_theirs_by_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    information = tmp_path / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[cxr_harness.test_things]\nc = registers_a_thing\nbroken = there_is_no_such_module\n"
    )
    (tmp_path / "registers_a_thing.py").write_text("import held\nheld.REGISTRY.add('c', 3)\n")
    (tmp_path / "held.py").write_text(
        "from datasets.registry import Registry\nREGISTRY = Registry('thing', 'cxr_harness.test_things')\n"
        "REGISTRY.add('a', 1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from held import REGISTRY  # type: ignore[import-not-found]

    assert REGISTRY["a"] == 1
    with caplog.at_level(logging.WARNING):
        assert "c" in REGISTRY
    assert list(REGISTRY) == ["a", "c"]
    assert "the thing of entry point broken = there_is_no_such_module is left out" in caplog.text
