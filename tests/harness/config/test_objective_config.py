"""Objectives and weights as configs: what keeps its identity, what a run is called and needs, what is refused."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import pytest

from datasets.errors import InputError
from harness.config import (
    AttentionTransfer,
    BetaSearch,
    ChannelWise,
    DataConfig,
    FitNet,
    LogitDistillation,
    Objective,
    Relational,
    RunConfig,
    TransferLearning,
    Weights,
    chexclusion,
    from_dict,
    to_dict,
)
from harness.config.xrv_names import xrv_labels

TEACHER = RunConfig(data=DataConfig(dataset="mimic_cxr"), schedule=chexclusion())
OURS = Weights(kind="run", run=TEACHER)
XRV = Weights(kind="xrv", name="densenet121-res224-mimic_ch", sha256="0123456789abcdef" * 4)
STUDENT = RunConfig(
    data=DataConfig(dataset="chexpert", subset="1k"), objective=AttentionTransfer(teacher=OURS, beta=10.0)
)
SEARCHED = dataclasses.replace(
    STUDENT, objective=AttentionTransfer(teacher=OURS, beta=BetaSearch(template=STUDENT, points=(1.0, 2.0)))
)
OTHERS = [LogitDistillation, FitNet, Relational, ChannelWise]


def student(objective: Objective) -> RunConfig:
    return dataclasses.replace(STUDENT, objective=objective)


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        (TEACHER, "06b5f946e3654ebfa74bedaa082af4a6e1bf7b5637b075b700027ddc8fb34f65"),
        (STUDENT, "6b6ecb7ccb048bcef7b0e1839c679a66ab3851a0262d046017f50909e3bfcd66"),
        (SEARCHED, "0e2b5e65f16cda75dd5a695da6461919b51505db80b0bb88d845c3e70cdb6fa2"),
    ],
)
def test_runs_keep_the_identity_under_which_results_were_written(config: RunConfig, digest: str) -> None:
    """Changed on purpose alone, together with SCHEMA_VERSION: results of older runs are found by it."""
    assert config.hash == digest


@pytest.mark.parametrize(
    ("objective", "method"),
    [
        (TransferLearning(), "tl"),
        (AttentionTransfer(teacher=OURS), "at-mimic"),
        (LogitDistillation(teacher=OURS), "kd-mimic"),
        (FitNet(teacher=Weights()), "fitnet-imagenet"),
        (Relational(teacher=OURS), "rkd-mimic"),
        (ChannelWise(teacher=XRV), "cwd-xrv-mimic_ch"),
    ],
)
def test_names_say_method_and_teacher(objective: Objective, method: str) -> None:
    assert student(objective).name == f"chexpert_1k_imagenet_{method}_d121_s0"


@pytest.mark.parametrize("kind", [AttentionTransfer, *OTHERS])
def test_every_method_needs_its_teachers_run(kind: Any) -> None:
    assert student(kind(teacher=OURS)).needs == (TEACHER,)
    assert student(kind(teacher=XRV)).needs == ()
    assert dataclasses.replace(student(kind(teacher=OURS)), init=OURS).needs == (TEACHER,)


@pytest.mark.parametrize("kind", OTHERS)
def test_json_round_trip_and_hash_of_every_field(kind: Any) -> None:
    run = student(kind(teacher=XRV))
    assert from_dict(to_dict(run), where="x") == run
    assert from_dict(to_dict(run), where="x").hash == run.hash
    assert student(kind(teacher=XRV, weight=0.5)).hash != run.hash
    assert student(kind(teacher=dataclasses.replace(XRV, sha256="f" * 64))).hash != run.hash


def test_a_field_that_is_not_used_is_not_written() -> None:
    assert to_dict(OURS).keys() == {"kind", "run"}
    assert to_dict(XRV) == {"kind": "xrv", "run": None, "name": XRV.name, "sha256": XRV.sha256}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogitDistillation(teacher=Weights()), "needs a teacher with labels"),
        (lambda: LogitDistillation(teacher=XRV, temperature=0.0), "objective.temperature must be positive"),
        (lambda: ChannelWise(teacher=XRV, temperature=-1.0), "objective.temperature must be positive"),
        (lambda: FitNet(teacher=XRV, weight=-1.0), "objective.weight must not be negative"),
        (lambda: FitNet(teacher=XRV, weight=math.nan), "objective.weight must not be negative"),
        (lambda: Relational(teacher=XRV, angle=-1.0), "objective.angle must not be negative"),
        (lambda: Relational(teacher=XRV, angle=0.0, distance=0.0), "must not both be 0"),
        (lambda: Relational(teacher=XRV, embedding="mean"), "objective.embedding = 'mean' is unknown; known: pooled"),
        (
            lambda: Weights(kind="xrv", name=XRV.name),
            r"kind = 'xrv' needs file \(their .pt file of torchxr",
        ),
        (lambda: Weights(kind="xrv", sha256="0" * 64), r"kind = 'xrv' needs name \(which weights of torchxr"),
        (lambda: Weights(name=XRV.name), "name is for kind = 'xrv', not 'imagenet'"),
        (lambda: dataclasses.replace(XRV, sha256="0" * 63), "64 lower-case hex digits"),
        (
            lambda: dataclasses.replace(XRV, name="mimic_ch"),
            "name = 'mimic_ch' is unknown; known: densenet121-res224",
        ),
    ],
)
def test_values_without_meaning_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            {"method": "fitnet", "teacher": {}, "wieght": 1.0},
            "objective.fitnet.wieght: unknown key; did you mean weight? known keys: teacher, method, weight",
        ),
        (
            {"method": "channel_wise", "teacher": {"knd": "run"}},
            "objective.channel_wise.teacher.knd: unknown key; did you mean kind? known keys: kind, run, name, ",
        ),
        ({"method": "relational"}, "run.toml: objective.relational.teacher: "),
        ({"method": "transfer_learning", "teacher": {}}, "unknown key; known keys: method"),
    ],
)
def test_a_refusal_names_the_keys_of_the_method_in_question(objective: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_dict({"data": {"dataset": "chexpert"}, "objective": objective}, where="run.toml")
    assert message in str(caught.value)


@pytest.mark.parametrize("module", ["harness.config.run", "harness.config.parse", "harness.config"])
def test_each_module_can_be_imported_first(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def test_labels_are_torchxrayvisions_own_but_for_the_renamed_effusion() -> None:
    models = pytest.importorskip("torchxrayvision.models")
    for name in ("all", "nih", "pc", "chex", "rsna", "mimic_nb", "mimic_ch"):
        theirs = models.model_urls[f"densenet121-res224-{name}"]["labels"]
        ours = xrv_labels(f"densenet121-res224-{name}")  # type: ignore[arg-type]
        renamed = "Pleural Effusion" if name in ("chex", "mimic_nb", "mimic_ch") else "Effusion"
        assert [renamed if label == "Effusion" else label for label in theirs] == list(ours)
