"""What runs take: images, GPU-hours from what finished runs took, the critical path, times to go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from grid_stand_in import small_runs
from hypothesis import given
from hypothesis import strategies as st

from harness.config import NETWORKS, NetworkConfig
from launch.grids.registry import load_grid
from launch.plan.cost import (
    Work,
    card_seconds,
    chains,
    estimate,
    hours_to_go,
    longest_chain,
    measure,
    run_work,
    seconds_to_go,
    share_left,
)
from launch.plan.run_state import RunState

RUNS = small_runs()
SPLITS = {"chexpert": {"train": 150, "validation": 50}}
TL, AT = 128 * (150 * 3 + 50), 128 * (150 * 4 + 50)


def by_id(**states: RunState) -> dict[str, RunState]:
    return {RUNS[name].run_id: state for name, state in states.items()}


def test_the_work_of_a_run() -> None:
    work = run_work(RUNS["b"].config, SPLITS)
    assert work == Work(train_images=19_200, teacher_images=19_200, validation_images=6_400, passes=AT)
    assert work.images == 25_600
    assert run_work(RUNS["a"].config, SPLITS).teacher_images == 0


def test_validations_are_counted_as_often_as_they_happen() -> None:
    """After each of 3 epochs; after every second of 5 and the last."""
    config = load_grid("demo").runs[0].config
    splits = {"mimic_cxr": {"train": 200, "validation": 10}}
    for epochs, every, times in ((3, 1, 3), (5, 2, 3), (6, 2, 3)):
        schedule = replace(config.schedule, epochs=epochs, validate_every=every)
        assert run_work(replace(config, schedule=schedule), splits).validation_images == times * 10


def test_the_papers_work_is_that_of_its_specification() -> None:
    """189 repetitions: 1.27e9 training images and 0.48e9 validation images, 0.73e9 of them past a teacher."""
    works = [run_work(run.config, {}) for run in load_grid("paper").runs if run.kind == "repetition"]
    assert sum(work.train_images for work in works) == pytest.approx(1.274e9, rel=0.01)
    assert sum(work.validation_images for work in works) == pytest.approx(0.482e9, rel=0.02)
    assert sum(work.teacher_images for work in works) == pytest.approx(0.73e9, rel=0.01)


def test_throughput_is_assumed_given_or_measured() -> None:
    runs = list(RUNS.values())
    assumed, given_one = measure(runs, {}, SPLITS), measure(runs, {}, SPLITS, 100.0)
    assert assumed.otherwise is None
    assert assumed.source == (
        "one H200 with torch 2.11, bf16, 256 px, batch 32: DenseNet-121 1,747 images/s, 1,415 with a teacher, "
        "2,829 in validation; other networks by their cost"
    )
    assert (given_one.otherwise, given_one.source) == (300.0, "100 images/s given")
    done = by_id(
        pretrain=RunState(state="done", epoch=128, epochs=128, gpu_seconds=TL / 1000),
        teacher=RunState(state="done", epoch=64, epochs=128, gpu_seconds=TL / 2 / 3000),
        b=RunState(state="running", epoch=64, epochs=128, images_per_s=9.0),
    )
    measured = measure(runs, done, SPLITS)
    assert measured.measured == {("densenet121", "all", "transfer_learning"): 2000.0}
    assert measured.otherwise == 2000.0
    assert measured.source == "2 finished runs; their median for other networks and methods"
    both = measure(runs, done, SPLITS, 100.0)
    assert (both.otherwise, both.source) == (300.0, "2 finished runs; 100 images/s given")
    assert both.seconds(RUNS["a"].config, Work(passes=4000.0)) == 2.0
    assert both.seconds(RUNS["b"].config, Work(passes=4000.0)) == pytest.approx(4000 / 300)


def test_without_a_measurement_of_ones_own_the_rates_are_those_of_a_named_card() -> None:
    """Transfer learning, with a teacher, and DenseNet-40, which costs a part of DenseNet-121."""
    transfer, attention = RUNS["a"].config, RUNS["b"].config
    work = Work(train_images=17_470, validation_images=2_829)
    assert card_seconds(transfer, work) == pytest.approx(10.0 + 1.0)
    work = Work(train_images=14_150, validation_images=28_290)
    assert card_seconds(attention, work) == pytest.approx(10.0 + 10.0)
    small = replace(transfer, network=NetworkConfig(name="densenet40"))
    share = NETWORKS["densenet40"].relative_cost
    assert 0.0 < share < 1.0
    assert card_seconds(small, work) == pytest.approx(share * card_seconds(transfer, work))
    taught = replace(attention, network=NetworkConfig(name="densenet40"))
    assert card_seconds(taught, work) == pytest.approx(10.0 * (3 * share + 1) / 4 + 10.0 * share)
    hours = estimate([RUNS["a"]], {}, SPLITS).hours[RUNS["a"].run_id]
    assert hours * 3600 == pytest.approx(128 * (150 / 1747 + 50 / 2829))


def test_an_estimate_counts_what_is_left() -> None:
    found = by_id(
        pretrain=RunState(state="done", epoch=128, epochs=128),
        teacher=RunState(state="running", epoch=96, epochs=128),
        a=RunState(state="partial", epoch=32, epochs=128),
    )
    cost = estimate(list(RUNS.values()), found, SPLITS, 1000.0)
    hours = {name: cost.left[run.run_id] * 3600 * 3000 for name, run in RUNS.items()}
    assert hours == pytest.approx({"pretrain": 0, "teacher": TL / 4, "a": TL * 0.75, "b": AT, "c": AT, "d": AT})
    assert cost.hours[RUNS["a"].run_id] * 3600 * 3000 == pytest.approx(TL)
    assert [run.name for run in cost.chain] == ["a", "d"]
    assert cost.chain_hours * 3600 * 3000 == pytest.approx(0.75 * TL + AT)
    assert hours_to_go(cost, 100) == cost.chain_hours
    assert hours_to_go(cost, 1) == pytest.approx(sum(cost.left.values()))


@pytest.mark.parametrize(
    ("state", "share"),
    [
        (RunState(), 1.0),
        (RunState(state="done", epoch=3, epochs=128), 0.0),
        (RunState(state="partial", epoch=32, epochs=128), 0.75),
        (RunState(state="failed", epoch=0, epochs=128), 1.0),
        (RunState(state="stale", epoch=64, epochs=128), 1.0),
    ],
)
def test_the_share_that_is_left(state: RunState, share: float) -> None:
    assert share_left(state) == share


def test_the_time_to_go_of_a_running_run() -> None:
    running = RunState(state="running", epoch=64, epochs=128, images_per_s=100.0)
    assert seconds_to_go(RUNS["a"], running, SPLITS) == pytest.approx(TL / 2 / 300)
    assert seconds_to_go(RUNS["b"], running, SPLITS) == pytest.approx(AT / 2 / 400)
    assert seconds_to_go(RUNS["a"], RunState(state="running"), SPLITS) is None
    assert seconds_to_go(RUNS["a"], RunState(state="partial", epoch=1, epochs=2, images_per_s=1.0), SPLITS) is None


@given(costs=st.fixed_dictionaries({run.run_id: st.integers(0, 100) for run in RUNS.values()}))
def test_the_longest_chain_is_a_chain_and_none_is_longer(costs: dict[str, int]) -> None:
    runs = list(RUNS.values())
    chain = longest_chain(runs, costs)
    assert sum(costs[run.run_id] for run in chain) == max(chains(runs, costs).values())
    whole = [["pretrain", "a", "d"], ["pretrain", "c"], ["teacher", "b"], ["teacher", "c"], ["teacher", "d"]]
    longest = max(sum(costs[RUNS[name].run_id] for name in path) for path in whole)
    assert sum(costs[run.run_id] for run in chain) == longest
    assert any({run.name for run in chain} <= set(path) for path in whole)
