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
    assert capsys.readouterr().err == "error: --num-outputs 0: expected at least 1\n"


def test_one_network_is_shown_with_its_tap_planes_and_multiply_adds(capsys):
    assert models("timm/test_vit", "--image-size", "64", "--scope", "blocks.5", "--taps", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    taps = {row["tap"]: row["planes"] for row in found.pop("taps")}
    assert found == {
        "network": "timm/test_vit",
        "scope": "blocks.5",
        "num_outputs": 14,
        "num_parameters": 301_774,
        "num_trainable": 42_638,
        "image_size": 64,
        "multiply_adds": 5_186_368,
        "tap": "blocks.5",
        "planes": [64, 4, 4],
    }
    assert taps["blocks.2"] == taps["blocks.5"] == taps["norm"] == [64, 4, 4]
    assert models("densenet40", "--image-size", "64") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[1:10:2] == ["densenet40", "all", "14", "1,364,142", "1,364,142"] for line in lines)
    assert models("timm/test_vit", "--image-size", "64", "--taps") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[1:8] == ["blocks.5", "(default)", "│", "64", "│", "4", "│"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet18",), "network.name = 'resnet18' is unknown; known: densenet121, densenet40, torchvision/NAME"),
        (("timm/resnet19",), "timm 1"),
        (("timm/test_vit", "--scope", "block.5"), "timm/test_vit has no module 'block.5'; near: blocks.5"),
        (("timm/mixer_s32_224",), "timm/mixer_s32_224 does not take images of 256 px"),
        (("timm/test_vit", "--image-size", "100"), "network.image_size must be a multiple of 32"),
        (("densenet40", "--taps"), "--taps: densenet40 has the paper's tap, and no other"),
        (("--taps",), "--taps and --scope are of one network: cxr models NAME --taps"),
    ],
)
def test_what_cannot_be_shown_is_one_line(capsys, arguments, message):
    assert models(*arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
