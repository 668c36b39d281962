"""``cxr models`` through the command line's own entry point."""

from __future__ import annotations

import json

import pytest

from launch.cli import main


def models(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["models", *arguments])
    return int(stopped.value.code)


def test_json_lists_every_network_and_scope(capsys):
    assert models("--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [
        {
            "network": network,
            "scope": scope,
            "num_outputs": 14,
            "num_parameters": num_parameters,
            "num_trainable": num_trainable,
        }
        for network, scope, num_parameters, num_trainable in (
            ("densenet121", "all", 6_968_206, 6_968_206),
            ("densenet121", "last34", 6_968_206, 2_700_814),
            ("densenet40", "all", 1_364_142, 1_364_142),
        )
    ]
    assert captured.err == ""


def test_outputs_can_be_chosen(capsys):
    assert models("--json", "--num-outputs", "1000") == 0
    assert json.loads(capsys.readouterr().out)[0]["num_parameters"] == 7_978_856


def test_the_table_is_for_people(capsys):
    assert models() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("last34" in line and "6,968,206" in line and "2,700,814" in line for line in lines)


def test_no_outputs_is_bad_input(capsys):
    assert models("--num-outputs", "0") == 2
    assert capsys.readouterr().err == "error: --num-outputs 0: a network needs at least one output\n"
