"""Grids as TOML files: products, names, needs by name, searches, and every refusal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import InputError
from harness.config import AttentionTransfer, BetaSearch, Schedule, chexclusion
from launch.cli import main
from launch.grids.grid import Grid
from launch.grids.registry import load_grid
from launch.grids.toml_file import expand

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "grids"


def load(folder: Path, text: str) -> Grid:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_grid(str(path))


ROW = '[[runs]]\nname = "a"\ndata.dataset = "chexpert"\n'


@pytest.mark.parametrize(
    "example", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".toml", ".py"))
)
def test_every_example_is_planned(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["grid", "plan", str(EXAMPLES / example), "--runs-dir", str(tmp_path), "--json"])
    assert caught.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert (
        Counter(run["kind"] for run in document["runs"])
        == {
            "sizes.toml": {"prerequisite": 3, "search": 12, "repetition": 24},
            "learning_rates.py": {"prerequisite": 1, "repetition": 12},
        }[example]
    )


def test_options_of_training_make_products_and_names(tmp_path: Path) -> None:
    row = ROW.replace('"a"', '"{loss.mixup}_{schedule.optimizer}"')
    grid = load(tmp_path, row + 'loss.mixup = [0.0, 0.2]\nschedule.optimizer = ["adam", "adamw"]\n')
    assert [run.name for run in grid.runs] == ["0.0_adam", "0.0_adamw", "0.2_adam", "0.2_adamw"]
    plain = load(tmp_path, ROW).runs[0].config
    assert grid.runs[0].config == plain and grid.runs[0].run_id == plain.run_id
    assert (grid.runs[3].config.loss.mixup, grid.runs[3].config.schedule.optimizer) == (0.2, "adamw")


def test_the_example_is_what_it_says() -> None:
    grid = load_grid(str(EXAMPLES / "sizes.toml"))
    by_name = {run.name: run for run in grid.runs}
    assert grid.name == "sizes"
    assert by_name["teacher"].config.schedule == chexclusion()
    student = by_name["at_5k_densenet40_r2"]
    assert student.config.seed == 2
    assert student.config.data.subset == "5k"
    assert student.config.schedule == Schedule(epochs=64)
    assert student.config.init.run == by_name["pretrain_densenet40"].config
    objective = student.config.objective
    assert isinstance(objective, AttentionTransfer)
    assert isinstance(objective.beta, BetaSearch)
    assert objective.teacher.run == by_name["teacher"].config
    assert objective.beta.points == (1.0, 10.0, 100.0)
    assert objective.beta.template.seed == 0
    assert set(student.needs) == {
        by_name[name].run_id
        for name in (
            "pretrain_densenet40",
            "teacher",
            *(f"search_at_5k_densenet40_beta{beta}" for beta in (1, 10, 100)),
        )
    }


def test_a_row_may_do_without_a_name(tmp_path: Path) -> None:
    grid = load(tmp_path, '[[runs]]\nseeds = [3, 5]\ndata.dataset = "chexpert"\ncells = ["x"]\n')
    assert [run.name for run in grid.runs] == [
        "chexpert_full_imagenet_tl_d121_s3",
        "chexpert_full_imagenet_tl_d121_s5",
    ]
    assert {(run.kind, run.cells) for run in grid.runs} == {("repetition", ("x",))}
    assert grid.name == "mine"


def test_tables_may_be_listed_and_choosers_take_nothing_from_the_defaults(tmp_path: Path) -> None:
    text = """
        [defaults]
        data.dataset = "chexpert"
        schedule = {epochs = 3, batch_size = 7}
        objective = {method = "attention_transfer", teacher = {kind = "imagenet"}, beta = 5.0}
        [[runs]]
        name = "{method}_{beta}"
        [[runs]]
        name = "other_{method}"
        schedule.batch_size = 9
        objective = [
            {method = "transfer_learning"},
            {method = "relational", teacher = {kind = "imagenet"}, weight = 2.0},
        ]
    """
    runs = {run.name: run.config for run in load(tmp_path, text).runs}
    assert list(runs) == ["at-imagenet_5", "other_tl", "other_rkd-imagenet"]
    assert runs["at-imagenet_5"].schedule == Schedule(epochs=3, batch_size=7)
    assert runs["other_tl"].schedule == Schedule(epochs=3, batch_size=9)
    assert runs["other_rkd-imagenet"].objective.weight == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine\.toml: has no runs; expected at least one \[\[runs\]\] table"),
        ("x = [", r"mine\.toml: not a TOML file \("),
        ("rnus = 1\n" + ROW, r"mine\.toml: key 'rnus' is unknown; did you mean runs\? known: name, defaults, runs$"),
        (
            "[defaults]\nsede = 1\n" + ROW,
            r"defaults: key 'sede' is unknown; did you mean seed\? known: data, network, ",
        ),
        (ROW + "nam = 1\n", r"runs\[1\] \(a\): key 'nam' is unknown; did you mean name\? known: name, kind, cells, "),
        (
            ROW + 'data.subst = "1k"\n',
            r"runs\[1\] \(a\): data\.subst: unknown key; did you mean subset\? known keys: dat",
        ),
        (
            ROW + 'objective.metod = "x"\n',
            r"\(a\): objective\.transfer_learning\.metod: unknown key; did you mean method\? known keys: meth",
        ),
        (
            ROW + 'objective.method = "attention_transfr"\n',
            r"did you mean attention_transfer\? known: transfer_learning",
        ),
        (ROW + "schedule = 3\n", r"\(a\)\.schedule: expected a table of keys, found 3"),
        (
            ROW + 'schedule.preset = "papr"\n',
            r"schedule\.preset: 'papr' is unknown; did you mean paper\? known: paper, ",
        ),
        (ROW + "schedule.epochs = 0\n", r"runs\[1\] \(a\): schedule: schedule.epochs must be at least 1"),
        (
            ROW + 'kind = "serch"\n',
            r"kind 'serch' is unknown; did you mean search\? known: prerequisite, search, repeti",
        ),
        ("name = [1]\n" + ROW, r"mine\.toml: name = \[1\]; expected a text"),
        (ROW.replace('"a"', "3"), r"runs\[1\]: name = 3; expected a text"),
        (ROW + "data.subset = []\n", r"runs\[1\] \(a\): its lists make 0 runs; expected 1 to 100,000"),
        (ROW + "seed = 1\nseeds = 2\n", "give seed or seeds, not both"),
        (
            ROW + "seeds = 1000000000000000000\n",
            "expected a count of at least 1 or a list of seeds, and no more than 100",
        ),
        (ROW + "seeds = [-1]\n", r"seed must lie in 0\.\.2"),
        (ROW + "seeds = [true]\n", "seed: Input should be a valid integer, found True"),
        (ROW + "cells = 3\n", "cells = 3; expected a list of names"),
        (ROW + "schedule.preset = [{}]\n", r"preset: \{\} is unknown"),
        (ROW + "schedule.epochs = true\n", "epochs: Input should be a valid integer, found True"),
        (
            ROW
            + "".join(f"schedule.{key} = [{', '.join('1' * 99)}]\n" for key in ("epochs", "patience", "batch_size")),
            r"its lists make 9\.7e\+05 runs; expected 1 to 100,000",
        ),
        (ROW + "seeds = 0\n", "seeds = 0; expected a count of at least 1 or a list of seeds"),
        (ROW + 'init.run = "b"\n', r"run = 'b' names no run above this row; runs above: none$"),
        (
            ROW + ROW.replace('"a"', '"b"') + 'init.run = "aa"\n',
            r"runs\[2\] \(b\): run = 'aa' names .* did you mean a\?$",
        ),
        ('[[runs]]\nname = "a"\n', r"runs\[1\] \(a\): data is missing; expected a table with at least dataset"),
        (ROW.replace('"a"', '"{netwrk}"'), r"\{netwrk\} is unknown; did you mean network\? known: dataset, size, "),
        (ROW + 'data.subset = ["1k", "5k"]\n', r"\(a\): a would name two runs; add \{size\} to the name"),
        (ROW + "loss.mixup = [0.0, 0.2]\n", r"\(a\): a would name two runs; add \{loss.mixup\} to the name"),
        (ROW + "loss.mixups = 0.2\n", r"loss.mixups: unknown key; did you mean mixup\?"),
        (ROW + ROW, r"runs\[2\] \(a\): a would name two runs; the two are the same run"),
        (
            ROW + ROW.replace('"a"', '"b"'),
            r"mine\.toml: two runs of a grid share the run id chexpert_full_\S+ \(a, b\)$",
        ),
        (ROW + "objective.beta.points = [1]\n", r"only attention_transfer has one"),
        (
            ROW
            + 'objective = {method = "attention_transfer", teacher = {kind = "imagenet"}, beta = {points = [0]}}\n',
            r"objective\.beta\.points: expected a list of numbers above 0",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grid file .*none\.toml: no such file or directory"):
        load_grid(str(tmp_path / "none.toml"))


SCALARS = st.integers(0, 9)
LISTS = st.lists(SCALARS, min_size=1, max_size=3)


@given(
    table=st.dictionaries(st.sampled_from("abcd"), SCALARS | LISTS | st.dictionaries(st.sampled_from("xy"), LISTS))
)
def test_a_product_has_each_combination_once_and_no_lists(table: dict[str, Any]) -> None:
    found = list(expand(table))
    count = 1
    for value in table.values():
        for part in value.values() if isinstance(value, dict) else [value]:
            count *= len(part) if isinstance(part, list) else 1
    assert len(found) == count
    for point in found:
        assert list(point) == list(table)
        for key, value in point.items():
            inner = value.items() if isinstance(value, dict) else [(None, value)]
            for name, item in inner:
                source = table[key] if name is None else table[key][name]
                assert item in source if isinstance(source, list) else item == source


def test_the_points_of_a_search_are_no_product() -> None:
    assert list(expand({"beta": {"points": [1, 2]}, "x": [3, 4]})) == [
        {"beta": {"points": [1, 2]}, "x": 3},
        {"beta": {"points": [1, 2]}, "x": 4},
    ]
