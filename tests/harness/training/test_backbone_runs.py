"""Runs with networks of torchvision and timm as students and teachers, resumed, exported and used."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerator_state import forget_accelerator
from scipy.special import expit
from tiny_runs import LABELS, hash_of, interrupted, tiny_config, tiny_runtime, without_times

from datasets.errors import InputError
from harness.config import (
    AttentionTransfer,
    ChannelWise,
    FitNet,
    LogitDistillation,
    NetworkConfig,
    Relational,
    RunConfig,
    Weights,
    from_dict,
    to_dict,
)
from harness.networks import build_network
from harness.networks.library import probe
from harness.objectives import Sources, build_objective
from harness.runs.runtime import RuntimeConfig
from harness.training.preflight import check_networks
from harness.training.run import train_run
from harness.weights.teacher import Teacher, read_teacher
from launch.cli import main
from launch.grids.toml_file import load_grid_toml

DENSENET40 = NetworkConfig(name="densenet40")
RANDOM = Weights(kind="none")
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([[0, 1, 0], [1, 0, 255], [0, 0, 1], [1, 1, 0]], dtype=torch.uint8)
STUDENTS = [NetworkConfig(name=name) for name in ("torchvision/resnet18", "timm/test_resnet", "timm/test_vit")]
WAYS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "maps": (AttentionTransfer, {"form": "original_at"}),
    "projected": (AttentionTransfer, {"project": True}),
    "channel_wise": (ChannelWise, {"project": True}),
    "fitnet": (FitNet, {}),
    "relational": (Relational, {}),
    "logits": (LogitDistillation, {}),
}


@pytest.fixture(scope="module")
def teachers(tiny_beton: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RuntimeConfig, list[RunConfig]]:
    """Finished runs of a ResNet with batch norm and of a vision transformer."""
    runtime = tiny_runtime(tiny_beton, tmp_path_factory.mktemp("teachers"))
    configs = [tiny_config(epochs=1, network=network) for network in STUDENTS[1:]]
    for config in configs:
        assert train_run(config, runtime)["status"] == "done"
        forget_accelerator()
    return runtime, configs


@pytest.fixture(autouse=True, scope="module")
def _one_teacher_each() -> Iterator[None]:
    """A teacher is built once: it is frozen, so objectives can share it."""
    with pytest.MonkeyPatch.context() as patch:
        found: dict[str, Teacher] = {}

        def read(config: Weights, runtime: RuntimeConfig) -> Teacher:
            return found.setdefault(str(to_dict(config)), read_teacher(config, runtime))

        patch.setattr("harness.objectives.base.read_teacher", read)
        yield


def pull(network: NetworkConfig, way: str, teacher: Weights, runtime: RuntimeConfig) -> float:
    """Largest gradient of the transfer loss alone in the student's first layer; the loss itself is above 0."""
    method, options = WAYS[way]
    config = tiny_config(network=network, objective=method(teacher=teacher, **options))
    check_networks(config)
    student = build_network(config.network, 3)
    sources = Sources(runtime=runtime, device=torch.device("cpu"), labels=LABELS, num_planes=student.num_planes)
    losses = build_objective(config.objective, sources)(student(IMAGES), IMAGES, TARGETS)
    assert 0.0 < losses.attention < 100.0
    first = next(parameter for parameter in student.parameters() if parameter.ndim == 4)
    (gradient,) = torch.autograd.grad(losses.total - losses.cross_entropy, first)
    return float(gradient.abs().max())


@pytest.mark.parametrize("way", [way for way in WAYS if way != "logits"])
@pytest.mark.parametrize("student", STUDENTS, ids=lambda network: network.name)
def test_a_densenet121_teaches_a_librarys_network(student: NetworkConfig, way: str, tmp_path: Path) -> None:
    assert 0.0 < pull(student, way, RANDOM, RuntimeConfig(runs_dir=tmp_path)) < 100.0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", [0, 1], ids=["timm/test_resnet", "timm/test_vit"])
def test_a_librarys_network_teaches_a_densenet40(
    which: int, way: str, teachers: tuple[RuntimeConfig, list[RunConfig]]
) -> None:
    runtime, runs = teachers
    assert 0.0 < pull(DENSENET40, way, Weights(kind="run", run=runs[which]), runtime) < 100.0


@pytest.mark.parametrize(
    ("student", "objective", "message"),
    [
        (
            STUDENTS[0],
            AttentionTransfer(teacher=RANDOM),
            "have 512 planes of 2x2 and 32 planes of 2x2; set ",
        ),
        (
            STUDENTS[2],
            ChannelWise(teacher=RANDOM),
            "have 64 planes of 4x4 and 32 planes of 2x2; set ",
        ),
        (
            DENSENET40,
            AttentionTransfer(teacher=Weights(kind="none", network=STUDENTS[1]), form="mean_square"),
            "densenet40 and its teacher timm/test_resnet have 32 planes of 2x2 and 96 planes of 2x2; set ",
        ),
    ],
)
def test_planes_that_do_not_pair_are_refused_with_what_could_be_done(
    student: NetworkConfig, objective: Any, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_networks(tiny_config(network=student, objective=objective))
    said = str(caught.value)
    assert message in said and said.endswith("take fitnet, relational or logit_distillation, or another network.tap")
    assert ("objective.form = 'original_at'" in said) == (objective.method == "attention_transfer")


def test_planes_that_pair_are_compared_by_equation_2() -> None:
    """A tap with the 32 planes of the teacher's size is found by name."""
    objective = AttentionTransfer(teacher=RANDOM)
    taps = probe("torchvision/mobilenet_v2", 64).taps
    (tap, *_) = [name for name, found in taps.items() if found.shape == (160, 2, 2)]
    network = NetworkConfig(name="torchvision/mobilenet_v2", tap=tap)
    teacher = AttentionTransfer(teacher=Weights(kind="none", network=network))
    check_networks(tiny_config(network=network, objective=teacher))
    with pytest.raises(InputError, match="have 160 planes of 2x2 and 32 planes of 2x2"):
        check_networks(tiny_config(network=network, objective=objective))


@pytest.mark.parametrize("student", STUDENTS[1:], ids=lambda network: network.name)
def test_a_resumed_run_has_the_whole_ones_bits(student: NetworkConfig, tiny_beton: Path, tmp_path: Path) -> None:
    objective = AttentionTransfer(teacher=RANDOM, weight=0.5, project=True)
    data = dataclasses.replace(tiny_config().data, subset="20")  # two steps an epoch, the last one of four images
    config = tiny_config(epochs=2, network=student, objective=objective, data=data)
    whole, stopped = (tiny_runtime(tiny_beton, tmp_path / name) for name in ("whole", "stopped"))
    train_run(config, whole)
    forget_accelerator()
    interrupted(config, stopped, after_epochs=1)
    forget_accelerator()
    train_run(config, stopped)
    folders = [runtime.folder_of(config) for runtime in (whole, stopped)]
    assert hash_of(folders[0].best_dir) == hash_of(folders[1].best_dir)
    assert without_times(folders[0]) == without_times(folders[1])


@pytest.mark.parametrize("which", [0, 1], ids=["timm/test_resnet", "timm/test_vit"])
def test_an_exported_run_predicts_what_the_run_predicted(
    which: int, teachers: tuple[RuntimeConfig, list[RunConfig]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The export itself compares the ONNX file with torch and fails where they differ."""
    runtime, runs = teachers
    folder, out = runtime.folder_of(runs[which]), tmp_path / "model"
    assert call("export", folder.path, "--out", out) == 0
    stored = pd.read_parquet(folder.predictions_file)
    images = [runtime.data_dir / "images" / name for name in stored["path"]]
    capsys.readouterr()
    assert call("predict", out, *images, "--json", "--device", "cpu", "--workers", 1) == 0
    found = json.loads(capsys.readouterr().out)
    expected = expit(stored[[f"logit:{label}" for label in LABELS]].to_numpy(dtype=np.float64))
    np.testing.assert_allclose([[row[label] for label in LABELS] for row in found], expected, atol=1e-6)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    forget_accelerator()
    assert isinstance(caught.value.code, int)
    return caught.value.code


GRID = """
[defaults]
data = { dataset = "chestxray14", image_size = 64, subset = "16" }
init.kind = "none"
schedule = { epochs = 1, batch_size = 16 }
[[runs]]
name = "teacher"
kind = "prerequisite"
network.name = "timm/test_resnet"
[[runs]]
name = "{method}_{network}"
network.name = ["densenet40", "timm/test_vit"]
objective = [
  { method = "transfer_learning" },
  { method = "attention_transfer", form = "original_at", teacher.run = "teacher" },
]
"""


def test_a_grid_of_libraries_networks_is_planned_trained_and_reported(
    tiny_beton: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs_dir = tmp_path / "nets.toml", tmp_path / "runs"
    path.write_text(GRID)
    assert call("grid", "plan", path, "--runs-dir", runs_dir, "--data-dir", tiny_beton.parent, "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    students = {f"{method}_{net}" for method in ("tl", "at-chestxray14") for net in ("densenet40", "timm-test_vit")}
    assert set(rows) == {"teacher", *students}
    hours = {name: row["cost"]["gpu_hours"] for name, row in rows.items()}
    assert 0.0 < hours["tl_timm-test_vit"] < 0.1 * hours["tl_densenet40"]
    for run in load_grid_toml(path).runs:
        train_run(run.config, tiny_runtime(tiny_beton, runs_dir))
        forget_accelerator()
    out = tmp_path / "report"
    assert call("report", runs_dir, "--out", out, "--data-dir", tiny_beton.parent, "--attention-maps", 1) == 0
    assert (out / "attention_2.png").stat().st_size > 1000  # maps of 2x2 positions beside such of 4x4
    header = next(line for line in (out / "tables.md").read_text().splitlines() if line.startswith("| Method"))
    assert [cell.strip() for cell in header.split("|")[2:-1]] == ["DenseNet-40", "timm/test_vit"]
    path.write_text(GRID.replace("timm/test_vit", "timm/test_vt"))
    assert call("grid", "plan", path, "--runs-dir", runs_dir, "--data-dir", tiny_beton.parent) == 2
    said = capsys.readouterr().err
    assert "network.name = 'timm/test_vt': timm" in said and "has no such network; near: test_vit" in said


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"name": "timm/"}, "network.name = 'timm/' is unknown; known: densenet121, densenet40, torchvision/NAME"),
        ({"name": "timm/x", "scope": "a,b"}, "network.scope = 'a,b': expected all, or names of modules joined by +"),
        ({"name": "timm/x", "tap": "a+b"}, "network.tap = 'a+b': expected the name of a module, as layer4"),
        ({"name": "timm/x", "head_relu": True}, "network.head_relu is DenseNet-40's; timm/x has none"),
        ({"name": "densenet121", "tap": "norm5"}, "network.tap is for torchvision/NAME and timm/NAME; densenet121"),
        ({"name": "timm/x", "image_size": 96}, "network.image_size = 96, but data.image_size = 64; leave the former"),
    ],
)
def test_a_wrong_network_table_is_one_line(network: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_dict(to_dict(tiny_config()) | {"network": network}, where="run.toml")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kind": "xrv", "network": {"name": "timm/x"}}, "given when kind = 'imagenet' or 'none', not 'xrv'"),
        (
            {"kind": "none", "network": {"name": "densenet40"}},
            "network.name = 'densenet40'; expected torch",
        ),
    ],
)
def test_a_teachers_network_is_a_librarys(weights: dict[str, Any], message: str) -> None:
    xrv = {"name": "densenet121-res224-all", "sha256": "0" * 64} if weights["kind"] == "xrv" else {}
    objective = {"method": "fitnet", "teacher": weights | xrv}
    with pytest.raises(InputError) as caught:
        from_dict(to_dict(tiny_config()) | {"objective": objective}, where="run.toml")
    assert message in str(caught.value)


def test_run_ids_of_the_papers_networks_are_what_they_were() -> None:
    config = tiny_config(objective=AttentionTransfer(teacher=Weights(kind="none"), weight=0.5))
    imagenet = tiny_config(network=NetworkConfig(), objective=ChannelWise(teacher=Weights()))
    assert imagenet.run_id == "chestxray14_40_none_cwd-imagenet_d121_s0-fa1d7fee3b"
    assert config.run_id == "chestxray14_40_none_at-none_d40_s0-60a5fb9fab"
