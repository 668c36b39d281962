"""Teachers: whole, frozen, in eval mode, and always a DenseNet-121."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import densenet121
from weights_fixtures import imagenet_state, with_old_names, write_run

from harness.config import AttentionTransfer, DataConfig, NetworkConfig, RunConfig, Weights
from harness.networks import build_network
from harness.runs.runtime import RuntimeConfig
from harness.weights.teacher import read_teacher

DATA = DataConfig(dataset="mimic_cxr")
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_imagenet_teacher_is_torchvisions_network_as_it_is(tmp_path):
    state = imagenet_state()
    torch.save(with_old_names(state), tmp_path / "weights.pth")
    teacher = read_teacher(Weights(), RuntimeConfig(imagenet_weights=tmp_path / "weights.pth")).network
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())

    reference = densenet121().eval()
    reference.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(teacher(IMAGES).logits, reference(IMAGES))
        assert teacher.attention_planes(IMAGES).shape == (2, 32, 2, 2)


@pytest.mark.parametrize("scope", ["all", "last34"])
def test_a_run_teaches_with_its_own_head_and_frozen(tmp_path, scope):
    run = RunConfig(data=DATA, network=NetworkConfig(scope=scope))
    state = write_run(tmp_path, run, labels=tuple("abcd"))
    teacher = read_teacher(Weights(kind="run", run=run), RuntimeConfig(runs_dir=tmp_path)).network
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
    assert teacher.classifier.out_features == 4
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_densenet40_cannot_teach():
    run = RunConfig(data=DATA, network=NetworkConfig(name="densenet40"))
    objective = AttentionTransfer(teacher=Weights(kind="run", run=run))
    with pytest.raises(ValueError, match="is a densenet40; a teacher must be a densenet121"):
        RunConfig(data=DATA, objective=objective)


def test_a_random_teacher_warns_and_is_no_students_copy(caplog):
    teacher = read_teacher(Weights(kind="none"), RuntimeConfig()).network
    assert caplog.messages[0].startswith("the teacher has random weights")
    student = build_network(NetworkConfig(), 1)
    assert not torch.equal(teacher.features.conv0.weight, student.features.conv0.weight)
    again = read_teacher(Weights(kind="none"), RuntimeConfig()).network
    assert torch.equal(teacher.features.conv0.weight, again.features.conv0.weight)
