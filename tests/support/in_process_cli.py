"""Run ``cxr`` in this process, and read what it prints."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from launch.cli import main


def run_cli(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run_cli(*arguments, "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def rendered(tables: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
