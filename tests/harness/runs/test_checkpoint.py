"""Checkpoints: what goes in comes back bit for bit, and no moment of death leaves less than a whole one."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load
from torch import nn

from datasets.errors import InputError
from harness.config.schedule import Validated
from harness.runs.checkpoint import (
    META_NAME,
    STATE_NAME,
    WEIGHTS_NAME,
    Learner,
    best_epoch,
    load_last,
    load_weights,
    safetensors_bytes,
    save_best,
    save_last,
    weights_hash,
)
from harness.runs.checkpoint_folder import COMPLETE_NAME, replacing_folder, whole_folder
from harness.runs.train_state import PartialEpoch, TrainState

POSITION = TrainState(
    epoch=2,
    step=7,
    images=100,
    train_seconds=1.5,
    seconds=2.5,
    restarts=1,
    history=(
        Validated(epoch=0, loss=0.5, mean_auroc=None),
        Validated(epoch=1, loss=0.25, mean_auroc=0.75),
    ),
)


METADATA = {"labels": '["a", "b"]', "network": "tiny"}


def small(seed: int) -> Learner:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam([*network.parameters(), *module.parameters()], lr=0.01)
    return Learner(network=network, optimizer=optimizer, objective_module=module)


def step(learner: Learner) -> None:
    assert learner.objective_module is not None
    learner.objective_module(learner.network(torch.randn(5, 3, 4, 4))).square().mean().backward()
    learner.optimizer.step()
    learner.optimizer.zero_grad()


def hash_of(learner: Learner) -> str:
    assert learner.objective_module is not None
    return weights_hash({**learner.network.state_dict(), **learner.objective_module.state_dict()})


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    learner = small(0)
    step(learner)
    save_last(tmp_path / "last", learner.contents(), POSITION, METADATA)
    step(learner)
    other = small(1)
    assert load_last(tmp_path / "last", other, METADATA) == POSITION
    step(other)  # the random state came back too, so the inputs are the same
    assert hash_of(other) == hash_of(learner)


def test_a_gradient_scaler_comes_back(tmp_path: Path) -> None:
    scaled = dataclasses.replace(small(0), scaler=torch.amp.GradScaler("cpu", init_scale=4.0))
    save_last(tmp_path / "last", scaled.contents(), POSITION, METADATA)
    fresh = torch.amp.GradScaler("cpu")
    load_last(tmp_path / "last", dataclasses.replace(small(1), scaler=fresh), METADATA)
    assert fresh.get_scale() == 4.0


def test_an_epoch_under_way_comes_back(tmp_path: Path) -> None:
    partial = PartialEpoch(
        batches=3,
        skipped=1,
        images=48,
        measured=32,
        seconds=1.5,
        data_wait_s=0.25,
        has_attention=True,
        sums=torch.tensor([[1.0, 0.1, 0.3]], dtype=torch.float64),
        indices=torch.arange(32),
        logits=torch.randn(32, 2),
        targets=torch.ones(32, 2, dtype=torch.uint8),
    )
    save_last(tmp_path / "last", small(0).contents(), dataclasses.replace(POSITION, partial=partial), METADATA)
    found = load_last(tmp_path / "last", small(1), METADATA)
    assert found is not None
    assert found.partial is not None
    for field in dataclasses.fields(PartialEpoch):
        ours, theirs = getattr(partial, field.name), getattr(found.partial, field.name)
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


def test_no_checkpoint_is_none_and_a_broken_best_one_is_said(tmp_path: Path) -> None:
    assert load_last(tmp_path / "last", small(0), METADATA) is None
    with pytest.raises(InputError, match="no checkpoint there"):
        load_weights(tmp_path / "best")
    save_last(tmp_path / "last", small(0).contents(), POSITION, METADATA)
    cut(tmp_path / "last" / WEIGHTS_NAME)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(tmp_path / "last")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut": (lambda folder: cut(folder / STATE_NAME), "torn: state.pt is of 100 bytes"),
    "gone": (lambda folder: (folder / WEIGHTS_NAME).unlink(), "torn: model.safetensors is missing"),
    "unsealed": (lambda folder: (folder / COMPLETE_NAME).unlink(), "torn: it has no COMPLETE"),
    "torn seal": (lambda folder: cut(folder / COMPLETE_NAME), "torn: COMPLETE cannot be read"),
    "bit": (lambda folder: flip_a_bit(folder / WEIGHTS_NAME), "damaged: model.safetensors is not what was written"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_of_a_torn_checkpoint_the_one_before_is_used(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = DAMAGE[kind]
    learner = small(0)
    save_last(tmp_path / "last", learner.contents(), POSITION, METADATA)
    before = hash_of(learner)
    step(learner)
    save_last(tmp_path / "last", learner.contents(), dataclasses.replace(POSITION, epoch=3), METADATA)
    damage(tmp_path / "last")
    other = small(1)
    assert load_last(tmp_path / "last", other, METADATA) == POSITION
    assert hash_of(other) == before
    warning = capsys.readouterr().err
    assert message in warning
    assert warning.count("\n") == 1
    damage(tmp_path / "last.old")
    with pytest.raises(InputError, match="to start the run anew"):
        load_last(tmp_path / "last", other, METADATA)


def test_a_foreign_checkpoint_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_last(tmp_path / "last", small(0).contents(), POSITION, METADATA)
    save_last(tmp_path / "last", small(0).contents(), POSITION, {**METADATA, "labels": '["b", "a"]'})
    assert load_last(tmp_path / "last", small(1), METADATA) == POSITION
    assert 'foreign: labels = \'["b", "a"]\', but this run\'s is \'["a", "b"]\'' in capsys.readouterr().err


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for epoch in range(4):
        save_last(tmp_path / "last", small(0).contents(), dataclasses.replace(POSITION, epoch=epoch), METADATA)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.old"]
    shutil.rmtree(tmp_path / "last")
    found = load_last(tmp_path / "last", small(0), METADATA)
    assert found is not None
    assert found.epoch == 2


def test_the_best_holds_the_last_ones_weights_and_says_its_epoch(tmp_path: Path) -> None:
    last, best = tmp_path / "last", tmp_path / "best"
    learner = small(0)
    save_last(last, learner.contents(), POSITION, METADATA)
    assert best_epoch(best) is None
    save_best(best, last, POSITION.history[1])
    kept = weights_hash(learner.network.state_dict())
    assert best_epoch(best) == 1
    step(learner)
    save_last(last, learner.contents(), dataclasses.replace(POSITION, epoch=3), METADATA)
    tensors, metadata = load_weights(best)
    assert weights_hash(tensors) == kept != weights_hash(learner.network.state_dict())
    assert metadata == METADATA
    assert sorted(path.name for path in best.iterdir()) == [META_NAME, WEIGHTS_NAME]


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    learner = small(0)
    save_last(tmp_path / "last", learner.contents(), POSITION, METADATA)
    monkeypatch.setattr(os, "link", refuse)
    save_best(tmp_path / "best", tmp_path / "last", POSITION.history[1])
    assert weights_hash(load_weights(tmp_path / "best")[0]) == weights_hash(learner.network.state_dict())


def test_weights_are_stored_with_plain_strides_and_their_metadata(tmp_path: Path) -> None:
    learner = small(0)
    save_last(tmp_path / "last", learner.contents(), POSITION, METADATA)
    with safe_open(tmp_path / "last" / WEIGHTS_NAME, framework="pt") as file:
        assert file.metadata() == METADATA
        assert torch.equal(file.get_tensor("0.weight"), learner.network.state_dict()["0.weight"])


def test_equal_weights_and_metadata_are_equal_bytes() -> None:
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
    names = ("labels", "network", "scope", "image_size", "run_id", "dataset")
    metadata = {name: f"{name}: é" for name in names}
    turned = dict(reversed(metadata.items()))
    written = {safetensors_bytes(tensors, given) for given in (metadata, turned) for _ in range(4)}
    assert len(written) == 1
    read = load(*written)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_the_hash_sees_names_types_shapes_and_values() -> None:
    tensor = torch.arange(4.0)
    same = weights_hash({"a": tensor, "b": tensor})
    assert same == weights_hash({"b": tensor.clone(), "a": tensor.clone()})
    others = [
        {"a": tensor, "c": tensor},
        {"a": tensor, "b": tensor.double()},
        {"a": tensor, "b": tensor.reshape(2, 2)},
        {"a": tensor, "b": tensor + torch.tensor([0.0, 0.0, 0.0, 1e-6])},
    ]
    assert len({same, *map(weights_hash, others)}) == 5


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of the code under test may catch it as an Exception."""


@pytest.mark.parametrize("old_left_behind", [False, True])
@pytest.mark.parametrize("keep_old", [False, True])
def test_death_at_any_moment_leaves_the_old_or_the_new_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_left_behind: bool, keep_old: bool
) -> None:
    """Every operation on the file system in turn is the last one that happens; then the next save must succeed."""
    real = {(Path, "rename"): Path.rename, (shutil, "rmtree"): shutil.rmtree, (os, "fsync"): os.fsync}
    for deadline in itertools.count():
        folder = tmp_path / f"{deadline}" / "last"
        write(folder, "old")
        if old_left_behind:
            shutil.copytree(folder, folder.with_name("last.old"))
        calls = itertools.count()

        def dying(operation: object, calls: itertools.count[int] = calls, deadline: int = deadline) -> object:
            def call(*arguments: object, **options: object) -> object:
                if next(calls) >= deadline:
                    raise KilledError
                return operation(*arguments, **options)  # type: ignore[operator]

            return call

        for (owner, name), operation in real.items():
            monkeypatch.setattr(owner, name, dying(operation))
        try:
            write(folder, "new", keep_old=keep_old)
            finished = True
        except KilledError:
            finished = False
        monkeypatch.undo()
        assert content(folder) in ({"new"} if finished else {"old", "new"})
        write(folder, "newer")
        assert content(folder) == "newer"
        assert [path.name for path in folder.parent.iterdir()] == ["last"]
        if finished:
            assert deadline > 5
            return


def write(folder: Path, text: str, *, keep_old: bool = False) -> None:
    with replacing_folder(folder, keep_old=keep_old) as partial:
        for name in ("one", "two"):
            (partial / name).write_text(text)


def content(folder: Path) -> str:
    whole = whole_folder(folder)
    assert whole is not None
    (text,) = {(whole / name).read_text() for name in ("one", "two")}
    return text
