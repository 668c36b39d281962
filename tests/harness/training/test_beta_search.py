"""Beta searches: the winner, ties, and what is refused, from result files alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tiny_runs import attention_transfer, tiny_config

from datasets.errors import InputError
from datasets.files import write_json
from harness.config import AttentionTransfer, BetaSearch, Weights
from harness.runs.beta_search import ranked
from harness.runs.runtime import RuntimeConfig
from harness.training.build import resolve_weight


def test_beta_is_the_point_with_the_best_validation(tmp_path: Path) -> None:
    template = tiny_config(objective=AttentionTransfer(teacher=Weights(kind="none")))
    search = BetaSearch(template=template, points=(8.0, 2.0, 4.0))
    config = dataclasses.replace(template, objective=AttentionTransfer(teacher=Weights(kind="none"), beta=search))
    runtime = RuntimeConfig(runs_dir=tmp_path)
    with pytest.raises(InputError, match=r"the beta search needs this run \(beta 8\), which is not finished"):
        ranked(search, runtime.folder_of)
    scores: list[float | None] = [0.5, 0.7, 0.7]
    write_results(search, scores, runtime)
    assert [tried.beta for tried in ranked(search, runtime.folder_of)] == [2.0, 4.0, 8.0]
    assert resolve_weight(config, runtime.folder_of) == (0.5, 2.0)
    write_results(search, [0.8, 0.7, 0.7], runtime)
    assert resolve_weight(config, runtime.folder_of) == (0.125, 8.0)
    write_results(search, [0.8, None, 0.7], runtime)
    with pytest.raises(InputError, match="no validation mean AUROC"):
        ranked(search, runtime.folder_of)
    fixed = dataclasses.replace(template, objective=attention_transfer(0.0))
    assert resolve_weight(fixed, runtime.folder_of) == (0.0, None)
    assert resolve_weight(tiny_config(), runtime.folder_of) == (None, None)


def write_results(search: BetaSearch, scores: list[float | None], runtime: RuntimeConfig) -> None:
    for run, score in zip(search.runs, scores, strict=True):
        write_json(runtime.folder_of(run).result_file, {"validation": {"mean_auroc": score}})
