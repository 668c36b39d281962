"""``cxr scores``: tables, JSON, what is kept, and what is said of a run of older code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process_cli import run_cli
from report_fixtures import student, write_run

from harness.evaluation.calibration import Calibration
from harness.runs.folder import RunFolder

AUROC = {"Edema": 0.8, "Effusion": 0.7}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(write_run(tmp_path / "runs", student(), AUROC))


def add_what_today_s_runs_leave(run: RunFolder) -> None:
    frame = pd.read_parquet(run.predictions_file)
    frame.insert(3, "sex", np.where(np.arange(len(frame)) % 4 < 2, "F", "M"))
    frame.to_parquet(run.predictions_file, index=False)
    targets, logits = (frame[[f"{kind}:{label}" for label in AUROC]].to_numpy() for kind in ("target", "logit"))
    fit = Calibration.fit(logits, targets, list(AUROC), content_hash="c", weights_hash="w")
    run.calibration_file.write_text(json.dumps(fit.to_dict()))


def test_scores_are_printed_and_kept(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    add_what_today_s_runs_leave(run)
    command = ("scores", str(run.path), "--resamples", "50", "--min-count", "2")
    assert run_cli(*command) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{run.config().run_id}: test, 40 images of 20 patients\n")
    assert all(word in told for word in ("Edema", "mean", "By sex", "largest gap", " over "))
    first = run.scores_file("test").read_bytes()
    assert run_cli(*command[:4], "--min-count", "40") == 0
    told = capsys.readouterr().out
    assert "By sex" not in told and told.endswith(
        "\nno group has 40 positive and 40 negative images of a label (--min-count), by sex\n"
    )
    assert run_cli(*command) == 0
    capsys.readouterr()
    assert run.scores_file("test").read_bytes() == first
    assert run_cli(*command, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(first) and found["lacking"] == []
    assert {"auroc", "sensitivity", "brier_calibrated", "positives"} <= set(found["scores"]["Edema"])
    assert [group["group"] for group in found["groups"]] == ["F", "M"]
    assert run_cli(*command, "--rule", "f1") == 0  # another rule, other decisions
    assert json.loads(run.scores_file("test").read_bytes())["key"] != found["key"]


def test_they_are_computed_anew_when_the_predictions_change(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("scores", str(run.path), "--resamples", "5", "--json")
    assert run_cli(*command) == 0
    before = json.loads(capsys.readouterr().out)
    frame = pd.read_parquet(run.predictions_file)
    frame["logit:Edema"] = -frame["logit:Edema"]
    frame.to_parquet(run.predictions_file, index=False)
    assert run_cli(*command) == 0
    after = json.loads(capsys.readouterr().out)
    there, here = (values["scores"]["Edema"]["auroc"]["value"] for values in (before, after))
    assert here == pytest.approx(1 - there, abs=2e-6)


def test_a_run_of_older_code_is_scored_as_far_as_its_files_go(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("scores", str(run.path), "--resamples", "5") == 0
    told = capsys.readouterr().out
    assert "no decisions and calibrated probabilities: there is no calibration.json; cxr evaluate RUN --write" in told
    assert "no groups: predictions.parquet has no attributes" in told
    assert "sens." not in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "validation"), "no validation.parquet; cxr evaluate RUN --write adds it"),
        (("--by", "sex"), "--by sex: the predictions have no such attribute"),
        (("--min-count", "0"), "--min-count 0: expected at least 1"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    run: RunFolder, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run_cli("scores", str(run.path), *options) == 2
    assert message in capsys.readouterr().err
    assert not run.scores_file("test").exists()
