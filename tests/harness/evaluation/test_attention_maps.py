"""Attention planes from run folders: those of the networks themselves, and the report that shows them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from weights_fixtures import LABELS, write_run

from datasets.augment.network_input import to_network_input
from datasets.beton.reader import Beton
from datasets.errors import InputError
from harness.config import AttentionTransfer, DataConfig, NetworkConfig, RunConfig, Weights
from harness.evaluation.attention_maps import attention_planes, choose_radiographs, plane_distance
from harness.networks import construct
from harness.objectives.attention_transfer import attention_loss
from harness.runs.checkpoint import load_weights
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.weights.teacher import read_teacher
from harness.weights.weight_files import read_run
from launch.report.build import build_report
from launch.report.options import Options

DATA = DataConfig(dataset="chestxray14", image_size=64)
TEACHER = RunConfig(data=DATA, init=Weights(kind="none"), seed=1)
STUDENT = RunConfig(data=DATA, network=NetworkConfig(name="densenet40"), init=Weights(kind="none"))
TAUGHT = dataclasses.replace(STUDENT, objective=AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=1.0))


def test_radiographs_are_test_images_with_a_finding_evenly_spaced(tiny_beton: Path) -> None:
    beton = Beton.open(tiny_beton)
    found = choose_radiographs(beton, 3)
    every = choose_radiographs(beton, 10_000)
    assert set(every) <= set(beton.indices("test"))
    assert (beton.targets[every] == 1).any(axis=1).all()
    assert found.tolist() == [every[0], every[round((len(every) - 1) / 2)], every[-1]]
    assert choose_radiographs(beton, 1).tolist() == [every[0]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student that it taught and one that it did not, with the files that a report needs."""
    folder = tmp_path_factory.mktemp("maps") / "runs"
    for config in (TEACHER, STUDENT, TAUGHT):
        write_run(folder, config)
        scores = {"mean_auroc": 0.7, "auroc": dict.fromkeys(LABELS, 0.7)}
        result = {"run_id": config.run_id, "status": "done", "test": scores}
        (folder / config.run_id / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_planes_are_those_of_the_networks(tiny_beton: Path, runs: Path) -> None:
    beton = Beton.open(tiny_beton)
    images = beton.gather(choose_radiographs(beton, 2))
    own = attention_planes(read_run(STUDENT, RunFolder(runs / STUDENT.run_id)).build(), images)
    tensors, _ = load_weights(runs / STUDENT.run_id / "checkpoint" / "best")
    network = construct(STUDENT.network, len(LABELS))
    network.load_state_dict(tensors)
    with torch.inference_mode():
        expected = network.eval()(to_network_input(torch.from_numpy(images)[:, None])).attention
    assert own.shape == (2, 32, 2, 2)
    np.testing.assert_allclose(own, expected.numpy(), rtol=1e-4, atol=1e-5)
    weights = Weights(kind="run", run=TEACHER)
    other = attention_planes(read_teacher(weights, RuntimeConfig(runs_dir=runs)).network, images)
    np.testing.assert_array_equal(
        other, attention_planes(read_run(TEACHER, RunFolder(runs / TEACHER.run_id)).build(), images)
    )
    distances = plane_distance(own, other)
    loss = float(attention_loss(torch.from_numpy(own), torch.from_numpy(other), "eq2"))
    assert distances.mean() == pytest.approx(loss, rel=1e-5)
    assert plane_distance(own, own).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(plane_distance(own, -own), 2.0, rtol=1e-5)


def test_weights_that_are_not_there_are_one_line(tiny_beton: Path, tmp_path: Path) -> None:
    images = Beton.open(tiny_beton).gather(np.array([0]))
    with pytest.raises(InputError, match="no such run"):
        attention_planes(read_run(STUDENT, RunFolder(tmp_path / STUDENT.run_id)).build(), images)


def test_the_report_shows_them_where_weights_and_beton_are_at_hand(tiny_beton: Path, runs: Path) -> None:
    out = runs.parent / "report"
    options = Options(attention_maps=2, data_dir=tiny_beton.parent)
    built = build_report(runs, out, options)
    drawn = {path.name for path in built.paths if path.name.startswith("attention")}
    names = ("attention_1", "attention_planes_1")
    assert drawn == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Attention maps: DenseNet-40, Attention transfer" in page
    weights = runs / TEACHER.run_id / "checkpoint" / "best" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:1000])
    try:
        built = build_report(runs, out, options)
    finally:
        weights.write_bytes(kept)
    assert not (out / "attention_1.png").exists()
    assert any("not drawn: " in note and "not a whole safetensors file" in note for note in built.notes)


def test_another_beton_is_refused(tiny_beton: Path, runs: Path) -> None:
    provenance = runs / TAUGHT.run_id / "provenance.json"
    provenance.write_text(json.dumps({"content_hash": "sha256:" + "beef" * 16}), encoding="utf-8")
    try:
        options = Options(attention_maps=1, data_dir=tiny_beton.parent)
        built = build_report(runs, runs.parent / "refused", options)
    finally:
        provenance.unlink()
    assert any("not the beton that the runs read" in note for note in built.notes)
