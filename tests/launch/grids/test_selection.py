"""Choosing a part of a grid by what its runs are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import InputError
from launch.grids.registry import load_grid
from launch.grids.selection import Selection

PAPER = load_grid("paper")


def names(**wishes: Any) -> list[str]:
    return [run.name for run in Selection(**wishes).choose(PAPER)]


def test_without_wishes_all_are_chosen() -> None:
    assert Selection().choose(PAPER) == PAPER.runs
    assert str(Selection()) == ""


def test_a_pattern_is_of_the_whole_name() -> None:
    assert names(name="chexpert_5k_*_tl_d40_r[01]") == [
        "pretrain_chestxray14_d40",
        "chexpert_5k_chestxray14_tl_d40_r0",
        "chexpert_5k_chestxray14_tl_d40_r1",
        "chexpert_5k_imagenet_tl_d40_r0",
        "chexpert_5k_imagenet_tl_d40_r1",
    ]


def test_wishes_hold_together_and_needs_stay() -> None:
    chosen = Selection(dataset=("chexpert",), size=("1k", "5k"), method=("at-mimic",), network=("densenet40",))
    runs = chosen.choose(PAPER)
    kinds = Counter(run.kind for run in runs)
    assert kinds == {"prerequisite": 2, "search": 16, "repetition": 12}
    assert {run.name for run in runs if run.kind == "prerequisite"} == {
        "pretrain_chestxray14_d40",
        "teacher_mimic_d121",
    }
    assert str(chosen) == "--dataset chexpert --size 1k 5k --method at-mimic --network densenet40"


@pytest.mark.parametrize("method", ["attention_transfer", "at"])
def test_a_method_has_a_long_and_a_short_name(method: str) -> None:
    chosen = Selection(method=(method,), only="chexpert_178k").choose(PAPER)
    assert Counter(run.kind for run in chosen)["repetition"] == 3 * 2 * 4


def test_sizes_may_be_asked_for_as_the_paper_prints_them() -> None:
    runs = Selection(size=("178k",)).choose(PAPER)
    assert {run.config.data.subset for run in runs if run.kind == "repetition"} == {"full"}
    assert Counter(run.kind for run in runs)["repetition"] == 14 * 3
    assert Counter(run.kind for run in Selection(size=("5.6k",)).choose(PAPER))["repetition"] == 7 * 3


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"dataset": ("chexprt",)},
            r"--dataset chexprt: no run of grid paper has this; did you mean chexpert\? known: ",
        ),
        ({"size": ("7k",)}, r"--size 7k: .* known: 178k, 1k, 5\.6k, 50k, 5k, full$"),
        ({"method": ("fitnet",)}, "--method fitnet: .* known: at, at-imagenet, at-mimic, attention_transfer, tl, "),
        ({"size": ("1k",), "dataset": ("mimic_cxr",)}, "--dataset mimic_cxr --size 1k: no run of grid paper"),
        ({"name": "nothing*"}, r"--name nothing\*: no run of grid paper"),
        ({"only": "zzz"}, "--only zzz: no run of grid paper"),
    ],
)
def test_what_is_not_there_is_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Selection(**wishes).choose(PAPER)


@given(
    size=st.lists(st.sampled_from(["1k", "5k", "50k", "full"]), unique=True),
    network=st.lists(st.sampled_from(["densenet121", "densenet40"]), unique=True),
)
def test_a_part_is_closed_under_needs_and_keeps_the_order(size: list[str], network: list[str]) -> None:
    runs = Selection(size=tuple(size), network=tuple(network)).choose(PAPER)
    ids = [run.run_id for run in runs]
    assert all(set(run.needs) <= set(ids) for run in runs)
    assert ids == [run.run_id for run in PAPER.runs if run.run_id in set(ids)]
    wanted = {
        run.run_id
        for run in PAPER.runs
        if (not size or run.config.data.subset in size) and (not network or run.config.network.name in network)
    }
    assert wanted <= set(ids)
    assert set(ids) - wanted <= {need for run in PAPER.runs for need in run.needs}
