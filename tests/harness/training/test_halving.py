"""Successive halving of a beta search: real runs, rung after rung, beside the full search of the same points."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from accelerator_state import forget_accelerator
from in_process_cli import run_cli
from tiny_runs import hash_of, interrupted, read_status, tiny_config, tiny_runtime, tiny_schedule, without_times

from datasets.errors import InputError
from datasets.files import read_json
from harness.config import AttentionTransfer, BetaSearch, Weights
from harness.runs.beta_search import drop_decided, ranked
from harness.runs.runtime import RuntimeConfig
from harness.training.build import resolve_weight
from harness.training.run import train_run
from harness.verification.recorded import RecordedRun
from harness.verification.retraining import obstacle

POINTS = (1.0, 10.0, 100.0, 1000.0)


@pytest.fixture(scope="module")
def search() -> BetaSearch:
    """Rungs of 4, 2 and 1 runs, which end after epochs 1, 2 and 4."""
    objective = AttentionTransfer(teacher=Weights(kind="none"))
    data = dataclasses.replace(tiny_config().data, subset="16")
    template = tiny_config(objective=objective, data=data, schedule=tiny_schedule(4, batch_size=8))
    return BetaSearch(template=template, points=POINTS, pruner="halving", min_resource=1)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runtime(search: BetaSearch, tiny_beton: Path, tmp_path_factory: pytest.TempPathFactory) -> RuntimeConfig:
    """Where the whole search has been run, the runs of later rungs killed at some moment and started again."""
    runtime = tiny_runtime(tiny_beton, tmp_path_factory.mktemp("halving"))
    for rung in range(3):
        for rank, config in enumerate(search.runs_of(rung)):
            if rung == 1 and rank == 0:  # while it takes over: it does so again
                with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                    patch.setattr("harness.training.recorder.save_last", killed)
                    train_run(config, runtime)
            if rung == 1 and rank == 1:  # in its first step
                interrupted(config, runtime, after_epochs=0)
            if rung == 2:  # after an epoch of its own: it goes on from its own checkpoint
                interrupted(config, runtime, after_epochs=3)
            train_run(config, runtime)
    forget_accelerator()
    return runtime


def test_a_survivor_ends_with_the_bits_of_the_full_search(search: BetaSearch, runtime: RuntimeConfig) -> None:
    (survivor,) = search.runs
    result = runtime.folder_of(survivor).result()
    assert result is not None
    full = search.full.runs[POINTS.index(result["beta"])]
    whole = train_run(full, runtime)
    ours, theirs = runtime.folder_of(survivor), runtime.folder_of(full)
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert hash_of(ours.best_dir) == hash_of(theirs.best_dir)
    assert without_times(ours) == without_times(theirs)
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()
    assert ours.steps_file.read_bytes() == theirs.steps_file.read_bytes()
    same = ("best_epoch", "epochs", "validation", "test", "beta", "attention_weight", "weights_hash")
    assert {key: result[key] for key in same} == {key: whole[key] for key in same}
    assert (result["restarts"], whole["restarts"]) == (1, 0)
    assert (result["epochs"], read_status(ours)["epochs"]) == (4, 4)


def test_runs_of_all_rungs_are_verified_from_their_first_step(
    search: BetaSearch, runtime: RuntimeConfig, tiny_beton: Path
) -> None:
    """A later rung's is trained again as its point would have been from the start, to the rung's end."""
    options = ("--data-dir", str(tiny_beton.parent), "--device", "cpu", "--num-workers", "1", "--steps", "8")
    for run in (search.runs_of(1)[1], *search.runs):
        folder = runtime.folder_of(run)
        assert run_cli("verify", str(folder.path), *options) == 0
        outcomes = {check["name"]: check["outcome"] for check in read_json(folder.certificate_file)["checks"]}
        assert {outcomes[f"training {part}"] for part in ("steps", "epochs", "result")} == {"held"}
    lost = RecordedRun(folder=folder, config=run, result={"beta": 7.0}, provenance={}, beton=None)
    check = obstacle(lost, 8, {})
    assert check is not None
    assert (check.outcome, check.what) == ("failed", "beta is 7.0, which is no point of the run's search")


def test_each_rung_goes_on_with_the_best_of_the_one_before(search: BetaSearch, runtime: RuntimeConfig) -> None:
    scores = {}
    for rung, (size, end) in enumerate(search.rungs):
        results = [runtime.folder_of(run).result() or {} for run in search.runs_of(rung)]
        assert [result["epochs"] for result in results] == [end] * size
        scores[rung] = [(-result["validation"]["mean_auroc"], result["beta"]) for result in results]
    assert [beta for _, beta in scores[0]] == list(POINTS)
    assert [beta for _, beta in scores[1]] == [beta for _, beta in sorted(scores[0])[:2]]
    assert [beta for _, beta in scores[2]] == [min(scores[1])[1]]
    student = dataclasses.replace(
        search.template, objective=AttentionTransfer(teacher=Weights(kind="none"), beta=search)
    )
    assert resolve_weight(student, runtime.folder_of)[1] == scores[2][0][1]


def test_what_resuming_needed_goes_once_the_next_rung_is_done(
    search: BetaSearch, runtime: RuntimeConfig, tmp_path: Path
) -> None:
    first, (one, other), (last,) = map(search.runs_of, range(3))
    results = {run.run_id: runtime.folder_of(run).result_file for run in (one, other)}
    aside = results[other.run_id].rename(tmp_path / "result.json")
    drop_decided(one, runtime.folder_of)
    assert all(runtime.folder_of(run).last_dir.exists() for run in first)
    aside.rename(results[other.run_id])
    drop_decided(one, runtime.folder_of)
    assert not any(runtime.folder_of(run).last_dir.exists() for run in first)
    assert all(runtime.folder_of(run).last_dir.exists() for run in (one, other, last))
    lost = {one.run_id: tmp_path / "lost"}
    with pytest.raises(InputError, match="no checkpoint, from which this run of a beta search goes on; remove"):
        train_run(one, dataclasses.replace(runtime, run_folders=lost))


def test_ties_and_runs_that_are_missing(search: BetaSearch, tmp_path: Path) -> None:
    runtime = RuntimeConfig(runs_dir=tmp_path)

    def write(rung: int, scores: dict[float, float]) -> None:
        for run, (beta, score) in zip(search.runs_of(rung), scores.items(), strict=True):
            folder = runtime.folder_of(run)
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.result_file.write_text(json.dumps({"beta": beta, "validation": {"mean_auroc": score}}))

    second = dataclasses.replace(search, rung=1)
    with pytest.raises(InputError, match=r"the beta search needs this run \(beta 1\), which is not finished"):
        ranked(second, runtime.folder_of)
    write(0, {1.0: 0.6, 10.0: 0.7, 100.0: 0.7, 1000.0: 0.5})
    assert [tried.beta for tried in ranked(second, runtime.folder_of)] == [10.0, 100.0, 1.0, 1000.0]
    write(1, {10.0: 0.7, 100.0: 0.8})
    (last,) = search.runs
    assert last.promotion is not None
    assert ranked(last.promotion, runtime.folder_of)[0].beta == 100.0
    with pytest.raises(InputError, match=r"the beta search needs this run \(rung 3\), which is not finished"):
        ranked(search, runtime.folder_of)
