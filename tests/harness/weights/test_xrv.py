"""torchxrayvision's DenseNet as a teacher and as initial weights: its own numbers, by hash, without running code."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from weights_fixtures import imagenet_state

from datasets.augment.network_input import to_network_input
from datasets.errors import InputError
from harness.config import AttentionTransfer, DataConfig, LogitDistillation, NetworkConfig, RunConfig, Weights
from harness.networks import build_network, draw_weights
from harness.objectives import Sources, build_objective
from harness.runs.runtime import RuntimeConfig
from harness.training.config_file import load_config
from harness.weights.initialise import initialise
from harness.weights.teacher import Teacher, read_teacher
from harness.weights.xrv import for_three_channels, read_xrv_file, xrv_hash

models = pytest.importorskip("torchxrayvision.models")
utils = pytest.importorskip("torchxrayvision.utils")

NAME = "densenet121-res224-mimic_ch"
PIXELS = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
THEIR_INPUT = torch.from_numpy(utils.normalize(PIXELS.numpy(), 255))
"""The same images as torchxrayvision prepares them: (2, 1, 64, 64) in -1024..1024."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """torchxrayvision's own network with random weights and the running statistics of its images."""
    network = models.DenseNet(weights=None, op_threshs=torch.full((18,), 0.3))
    draw_weights(network, seed=7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(THEIR_INPUT)
    for name, value in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            value.zero_()  # as in a file from before there were such counters
    return network.eval()


@pytest.fixture(scope="module")
def file(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xrv") / "mimic_ch.pt"
    torch.save(theirs.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def weights(file: Path) -> Weights:
    return Weights(kind="xrv", name=NAME, sha256=xrv_hash(file))


def teacher_of(weights: Weights, *files: Path) -> Teacher:
    return read_teacher(weights, RuntimeConfig(xrv_weights=files))


def their_planes(network: Any) -> torch.Tensor:
    """What denselayer15 adds to its input, in torchxrayvision's own forward pass."""
    found = []
    layer = network.features.denseblock4.denselayer15
    handle = layer.register_forward_hook(lambda module, inputs, output: found.append(output[:, -32:]))
    with torch.no_grad():
        network(THEIR_INPUT)
    handle.remove()
    return found[0]


def test_planes_and_logits_are_torchxrayvisions_own(theirs: Any, file: Path, weights: Weights) -> None:
    teacher = teacher_of(weights, file)
    inputs = to_network_input(PIXELS)
    with torch.no_grad():
        planes = teacher.network.attention_planes(inputs)
        output = teacher.network(inputs)
        logits = theirs.classifier(theirs.features2(THEIR_INPUT))
    assert planes.shape == (2, 32, 2, 2)
    assert torch.allclose(planes, their_planes(theirs), rtol=1e-3, atol=1e-4)
    assert torch.equal(output.attention, planes)
    assert torch.allclose(output.logits, logits, rtol=1e-3, atol=1e-4)  # without the operating points
    assert min(planes.std(), logits.std()) > 0.01


def test_the_teacher_is_frozen_and_says_how_it_is_adapted(
    file: Path, weights: Weights, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    teacher = teacher_of(weights, file)
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert len(teacher.labels or ()) == 18
    (said,) = caplog.messages
    assert said.startswith(f"the teacher is torchxrayvision's {NAME} ({file}, sha256 {weights.sha256[:8]}): ")
    assert "gray image in ±1024" in said
    assert "trained on 224 px" in said
    assert "Pleural Effusion" in said


def test_any_file_with_these_tensors_will_do(theirs: Any, file: Path, weights: Weights, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in theirs.state_dict().items() if name != "op_threshs"}
    save_file(state, tmp_path / "a.safetensors")
    counters = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(counters, tmp_path / "old.pt")
    assert xrv_hash(tmp_path / "a.safetensors") == xrv_hash(tmp_path / "old.pt") == weights.sha256
    other = {**state, "classifier.bias": torch.ones(18)}
    save_file(other, tmp_path / "other.safetensors")
    found = teacher_of(weights, tmp_path / "other.safetensors", file)
    assert torch.equal(found.network.classifier.bias, state["classifier.bias"])
    with pytest.raises(InputError, match=r"no file with tensors of sha256 \w{8} \(.*other.safetensors has \w{8}\)"):
        teacher_of(weights, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"\(no file given\); give it as \[runtime\] xrv_weights"):
        teacher_of(weights)


def test_a_pickled_model_is_refused_and_the_line_that_converts_it_works(
    theirs: Any, weights: Weights, tmp_path: Path
) -> None:
    folder = tmp_path / 'the hub\'s "own"'
    folder.mkdir()
    torch.save(theirs, folder / "hub.pt")
    with pytest.raises(InputError, match="runs the code in it; if you trust where it is from") as caught:
        read_xrv_file(folder / "hub.pt")
    message = str(caught.value)
    assert "\n" not in message
    command = shlex.split(message[message.index("python -c") :].removesuffix(")"))
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert xrv_hash(folder / "hub.tensors.pt") == weights.sha256


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save(imagenet_state(), tmp_path / "imagenet.pth")
    with pytest.raises(
        InputError, match=r"imagenet.pth: features.conv0.weight has shape \(64, 3, 7, 7\), not \(64, 1"
    ):
        read_xrv_file(tmp_path / "imagenet.pth")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(InputError, match=r"broken.pt: not a readable file of weights"):
        read_xrv_file(tmp_path / "broken.pt")
    with pytest.raises(InputError, match=r"absent.pt: no such file"):
        read_xrv_file(tmp_path / "absent.pt")


def test_initial_weights_are_the_same_network_for_three_channels(theirs: Any, file: Path) -> None:
    """Exact but for conv0's border, where zeros stand for another gray."""
    network = build_network(NetworkConfig(), 18).eval()
    network.load_state_dict(for_three_channels(read_xrv_file(file)))
    with torch.no_grad():
        ours = network.features.norm0(network.features.conv0(to_network_input(PIXELS)))
        expected = theirs.features.norm0(theirs.features.conv0(THEIR_INPUT))
    assert torch.allclose(ours[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["densenet121", "densenet40"])
def test_a_student_starts_from_all_but_the_classifier(theirs: Any, file: Path, weights: Weights, name: Any) -> None:
    network = build_network(NetworkConfig(name=name), 5)
    sentence = initialise(network, weights, RuntimeConfig(xrv_weights=(file,)), seed=3)
    assert f"torchxrayvision's {NAME}" in sentence
    assert torch.equal(
        network.features.denseblock2.denselayer7.conv2.weight, theirs.features.denseblock2.denselayer7.conv2.weight
    )
    assert network.features.conv0.weight.shape == (64, 3, 7, 7)
    assert network.classifier.out_features == 5


@pytest.mark.parametrize("config", [AttentionTransfer, LogitDistillation])
def test_it_teaches_students_of_our_labels(file: Path, weights: Weights, config: Any) -> None:
    labels = ("No Finding", "Pleural Effusion", "Atelectasis")
    objective: Any = build_objective(
        config(teacher=weights),
        Sources(runtime=RuntimeConfig(xrv_weights=(file,)), device=torch.device("cpu"), labels=labels),
    )
    network, inputs = build_network(NetworkConfig(name="densenet40"), 3), to_network_input(PIXELS)
    losses = objective(network(inputs), inputs, torch.ones(2, 3, dtype=torch.uint8))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    if config is LogitDistillation:
        assert (objective.student_columns.tolist(), objective.teacher_columns.tolist()) == ([1, 2], [7, 0])


def test_a_config_names_the_file_and_keeps_its_hash(file: Path, weights: Weights, tmp_path: Path) -> None:
    text = f"""
        [data]
        dataset = "chexpert"
        [objective]
        method = "channel_wise"
        [objective.teacher]
        kind = "xrv"
        name = "{NAME}"
        """
    config = tmp_path / "run.toml"
    config.write_text(text + f'file = "{file}"\n')
    found, runtime = load_config(config)
    assert found.objective.teacher == weights
    assert runtime == {"xrv_weights": (file,)}
    assert str(file) not in str(dataclasses.asdict(found))
    config.write_text(text + f'sha256 = "{weights.sha256}"\n[runtime]\nxrv_weights = ["{file}"]\n')
    assert load_config(config) == (found, runtime)
    assert found.run_id == RunConfig(data=DataConfig(dataset="chexpert"), objective=found.objective).run_id
    config.write_text(text + f'file = "{file}"\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(InputError, match=r"run.toml: .*mimic_ch.pt has tensors of sha256 \w{64}, not 0{64}"):
        load_config(config)
