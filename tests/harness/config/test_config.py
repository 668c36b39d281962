"""RunConfig: identity, needs, and refusals in one line."""

from __future__ import annotations

import dataclasses
import math

import pytest

from datasets.errors import InputError
from datasets.sources.registry import parse_subset
from harness.config import (
    AttentionTransfer,
    BetaSearch,
    DataConfig,
    NetworkConfig,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    chexclusion,
    from_dict,
    to_dict,
)

TEACHER = RunConfig(data=DataConfig(dataset="mimic_cxr"), schedule=chexclusion())
STUDENT = RunConfig(
    data=DataConfig(dataset="chexpert", subset="1k"),
    objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=10.0),
)


def test_names_say_what_a_run_is() -> None:
    assert TEACHER.name == "mimic_cxr_full_imagenet_tl_d121_s0"
    assert STUDENT.name == "chexpert_1k_imagenet_at-mimic_d121_s0"
    assert STUDENT.run_id == f"{STUDENT.name}-{STUDENT.hash[:10]}"


def test_every_field_enters_the_hash() -> None:
    changed = [
        dataclasses.replace(STUDENT, seed=1),
        dataclasses.replace(STUDENT, data=dataclasses.replace(STUDENT.data, rotation_deg=10.0)),
        dataclasses.replace(STUDENT, network=NetworkConfig(scope="last34")),
        dataclasses.replace(STUDENT, schedule=Schedule(epochs=127)),
        dataclasses.replace(STUDENT, objective=TransferLearning()),
        dataclasses.replace(STUDENT, init=Weights(kind="none")),
        dataclasses.replace(
            STUDENT,
            objective=AttentionTransfer(
                teacher=Weights(kind="run", run=dataclasses.replace(TEACHER, seed=1)), beta=10.0
            ),
        ),
    ]
    assert len({run.hash for run in [STUDENT, *changed]}) == len(changed) + 1


def test_json_round_trip_keeps_the_identity() -> None:
    search = BetaSearch(template=STUDENT, points=(1.0, 2.0))
    searched = dataclasses.replace(
        STUDENT, objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=search)
    )
    for run in (TEACHER, STUDENT, searched):
        assert from_dict(to_dict(run), where="x") == run
        assert from_dict(to_dict(run), where="x").run_id == run.run_id


def test_needs_are_initial_weights_teacher_and_search_each_once() -> None:
    init = RunConfig(data=DataConfig(dataset="chestxray14"))
    search = BetaSearch(template=STUDENT, points=(1.0, 2.0))
    run = dataclasses.replace(
        STUDENT,
        init=Weights(kind="run", run=init),
        objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=search),
    )
    assert [need.run_id for need in run.needs] == [
        init.run_id,
        TEACHER.run_id,
        *(point.run_id for point in search.runs),
    ]
    same = dataclasses.replace(STUDENT, init=Weights(kind="run", run=TEACHER))
    assert same.needs == (TEACHER,)


@pytest.mark.parametrize(
    ("role", "beta", "weight"), [("divide", 8.0, 0.125), ("multiply", 8.0, 8.0), ("divide", 2000.0, 0.0005)]
)
def test_canonical_weight(role: str, beta: float, weight: float) -> None:
    objective = AttentionTransfer(teacher=Weights(), beta=beta, beta_role=role)  # type: ignore[arg-type]
    assert objective.attention_weight() == weight


def test_weight_given_directly_wins_and_a_search_must_be_resolved() -> None:
    assert AttentionTransfer(teacher=Weights(), beta=5.0, weight=0.0).attention_weight() == 0.0
    search = AttentionTransfer(teacher=Weights(), beta=BetaSearch(template=STUDENT, points=(4.0,)))
    assert search.attention_weight(4.0) == 0.25
    with pytest.raises(ValueError, match="not been resolved"):
        search.attention_weight()


@pytest.mark.parametrize(("subset", "size"), [("full", None), ("1k", 1000), ("50k", 50_000), ("200", 200)])
def test_subset_names(subset: str, size: int | None) -> None:
    assert parse_subset(subset) == size


@pytest.mark.parametrize("subset", ["0", "k", "1m", "-5", "1.5k", ""])
def test_unknown_subsets_are_refused(subset: str) -> None:
    with pytest.raises(ValueError, match="use full or a count"):
        DataConfig(dataset="chexpert", subset=subset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"dataset": "my set"}}, "data.dataset = 'my set': expected up to 64 letters"),
        ({"data": {"dataset": "../x"}}, "data.dataset = '../x': expected up to 64 letters"),
        (
            {"data": {"dataset": "chexpert", "subst": "1k"}},
            "data.subst: unknown key; did you mean subset",
        ),
        (
            {"data": {"dataset": "chexpert"}, "sed": 1},
            "sed: unknown key; did you mean seed",
        ),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": 0}}, "epochs must be at least 1"),
        ({"data": {"dataset": "chexpert"}, "objective": {"method": "at"}}, "transfer_learning"),
        (
            {"data": {"dataset": "chexpert"}, "network": {"name": "densenet40", "scope": "last34"}},
            "needs densenet121",
        ),
        ({"data": {"dataset": "chexpert", "image_size": 250}}, "multiple of 32"),
        ({"data": {"dataset": "chexpert", "image_size": 2**20}}, "data.image_size must be at most 8192"),
        ({"data": {"dataset": "chexpert", "subset": "9" * 5000}}, "use full or a count"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": True}}, "schedule.epochs: .* integer, found True"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": "1"}}, "schedule.epochs: .* integer, found '1'"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": 1.5}}, "schedule.epochs: .*, found 1.5"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": 10**18}}, "epochs must be at most 1,000,000"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": 10**4000}}, "schedule.epochs"),
        ({"data": {"dataset": "chexpert"}, "schedule": {"epochs": 10**5000}}, "not a run's config"),
        (
            {"data": {"dataset": "chexpert"}, "schedule": {"learning_rate": math.inf}},
            "learning_rate must be positive",
        ),
        ({"data": {"dataset": "chexpert"}, "init": {"kind": 0}}, "init.kind: .*'imagenet', .*, found 0"),
        ({"data": {"dataset": "chexpert"}, "seed": -1}, "seed must lie in 0..2"),
        ({"data": {"dataset": "chexpert"}, "seed": True}, "seed: .*integer, found True"),
        ({"data": {"dataset": "chexpert"}, "network": {"sync_bn": 1}}, "network.sync_bn: .*, found 1"),
    ],
)
def test_refusals_name_file_and_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        from_dict(values, where="run.toml")
    assert str(caught.value).startswith("run.toml: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 6000
