"""The command itself: help, unknown commands, exit statuses."""

from __future__ import annotations

import pytest

from launch.cli import main
from launch.cli.commands import COMMANDS


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_lists_every_command_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.strip().startswith(name) for line in lines) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hasattr(COMMANDS[name].load(), "run")
    assert status_of(*name.split(), "--help") == 0
    assert f"cxr {name}" in capsys.readouterr().out


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("trian") == 2
    assert "did you mean 'cxr train'?" in capsys.readouterr().err
    assert status_of("grid", "sumbit") == 2
    assert "did you mean 'cxr grid submit'?" in capsys.readouterr().err


def test_bad_input_exits_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("inspect", "/nowhere/x.beton") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1


def test_a_bad_option_exits_with_2() -> None:
    assert status_of("convert", "--no-such-option") == 2
