"""Rules over runs: what they take, what they refuse, and that they compute nothing."""

from __future__ import annotations

import pytest
from grid_stand_in import small_runs
from hypothesis import given
from hypothesis import strategies as st

from launch.grids.registry import load_grid
from launch.grids.rule import Rule
from launch.grids.selection import sizes_of

PAPER = load_grid("paper").runs
RUNS = small_runs()


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("kind == 'prerequisite'", "pretrain teacher"),
        ("name in ('a', 'd') or seed == 0", "pretrain a d"),
        ("method == 'attention_transfer' and init == 'none'", "b"),
        ("method == 'at'", "b c d"),
        ("not teacher == None", "b c d"),
        ("1 < seed <= 3", "a b"),
        ("seed > -1 and data.image_size != 64", ""),
        ("objective.beta >= 1.0", "b c d"),
        ("objective.teacher.kind == 'run' and objective.teacher.run.seed == 1", "b c d"),
        ("init.run.data.subset == '200'", "a c d"),
        ("seed not in [0, 1, 2, 3]", "c d"),
    ],
)
def test_a_rule_takes_the_runs_that_it_says(text: str, taken: str) -> None:
    rule = Rule(text)
    assert " ".join(name for name, run in RUNS.items() if rule.holds(run)) == taken


def test_a_size_has_all_its_names() -> None:
    rule, either = Rule("subset == '178k'"), Rule("subset in ('178k', '5.6k')")
    assert [rule.holds(run) for run in PAPER] == ["178k" in sizes_of(run.config) for run in PAPER]
    assert sum(map(rule.holds, PAPER)) == 42
    assert all(either.holds(run) for run in PAPER if rule.holds(run))


@given(
    st.sampled_from(["subset == '5k'", "seed > 0", "method == 'tl'"]), st.sampled_from(["seed < 2", "epochs == 1"])
)
def test_rules_obey_de_morgan(one: str, other: str) -> None:
    both = Rule(f"not ({one} and {other})"), Rule(f"not {one} or not {other}")
    assert {tuple(rule.holds(run) for run in PAPER[::40]) for rule in both} == {
        tuple(not (Rule(one).holds(run) and Rule(other).holds(run)) for run in PAPER[::40])
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subset", "expected comparisons of a run's keys with values"),
        ("subset == ", "expected comparisons"),
        ("epochs == 3 + 1", "expected comparisons"),
        ("__import__('os').name == 'posix'", "expected comparisons"),
        ("name.real == 1", "expected comparisons"),
        ("name is None", "expected comparisons"),
        ("epoch == 3", "epoch is unknown; did you mean epochs?"),
        ("subset in '5k'", "after in comes a list"),
        ("(" * 500 + ")" * 500, "expected comparisons"),
    ],
)
def test_a_text_that_is_no_rule_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data.size == 3", "data.size is unknown; known: dataset, subset, image_size"),
        ("data.__class__ == 3", "data.__class__ is unknown"),
        ("subset > '1k'", "200 and '1k' have no order"),
        ("epochs > '8'", "128 and '8' have no order"),
    ],
)
def test_a_rule_that_cannot_be_asked_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(text).holds(RUNS["a"])


def test_an_order_with_nothing_holds_for_nothing() -> None:
    assert [Rule(f"objective.beta {op} 0.0").holds(RUNS["a"]) for op in ("<", ">", "<=", ">=", "==")] == [False] * 5
