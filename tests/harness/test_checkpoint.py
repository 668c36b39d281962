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
from torch import nn

from datasets.errors import InputError
from harness.checkpoint import (
    META_NAME,
    WEIGHTS_NAME,
    Position,
    best_epoch,
    load_last,
    load_weights,
    replacing_folder,
    save_best,
    save_last,
    weights_hash,
    whole_folder,
)
from harness.schedule import Validated

POSITION = Position(
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """What a checkpoint holds, in the order of ``save_last``'s arguments."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    module: nn.Module

    def save(self, folder: Path, position: Position = POSITION) -> None:
        save_last(folder, self.network, self.optimizer, self.scaler, position, METADATA, self.module)

    def load(self, folder: Path) -> Position | None:
        return load_last(folder, self.network, self.optimizer, self.scaler, self.module)


METADATA = {"labels": '["a", "b"]', "network": "tiny"}


def small(seed: int) -> Learner:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam([*network.parameters(), *module.parameters()], lr=0.01)
    return Learner(network=network, optimizer=optimizer, module=module)


def step(learner: Learner) -> None:
    learner.module(learner.network(torch.randn(5, 3, 4, 4))).square().mean().backward()
    learner.optimizer.step()
    learner.optimizer.zero_grad()


def hash_of(learner: Learner) -> str:
    return weights_hash({**learner.network.state_dict(), **learner.module.state_dict()})


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    learner = small(0)
    step(learner)
    learner.save(tmp_path / "last")
    step(learner)
    other = small(1)
    assert other.load(tmp_path / "last") == POSITION
    step(other)  # the random state came back too, so the inputs are the same
    assert hash_of(other) == hash_of(learner)


def test_a_gradient_scaler_comes_back(tmp_path: Path) -> None:
    scaled = dataclasses.replace(small(0), scaler=torch.amp.GradScaler("cpu", init_scale=4.0))
    scaled.save(tmp_path / "last")
    fresh = torch.amp.GradScaler("cpu")
    dataclasses.replace(small(1), scaler=fresh).load(tmp_path / "last")
    assert fresh.get_scale() == 4.0


def test_no_checkpoint_is_none_and_a_broken_one_is_said(tmp_path: Path) -> None:
    learner = small(0)
    assert learner.load(tmp_path / "last") is None
    with pytest.raises(InputError, match="no checkpoint there"):
        load_weights(tmp_path / "best")
    learner.save(tmp_path / "last")
    weights = tmp_path / "last" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="remove this folder to start the run anew"):
        learner.load(tmp_path / "last")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(tmp_path / "last")


def test_the_best_holds_the_last_ones_weights_and_says_its_epoch(tmp_path: Path) -> None:
    last, best = tmp_path / "last", tmp_path / "best"
    learner = small(0)
    learner.save(last)
    assert best_epoch(best) is None
    save_best(best, last, POSITION.history[1])
    kept = weights_hash(learner.network.state_dict())
    assert best_epoch(best) == 1
    step(learner)
    learner.save(last, dataclasses.replace(POSITION, epoch=3))
    tensors, metadata = load_weights(best)
    assert weights_hash(tensors) == kept != weights_hash(learner.network.state_dict())
    assert metadata == METADATA
    assert sorted(path.name for path in best.iterdir()) == [META_NAME, WEIGHTS_NAME]


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    learner = small(0)
    learner.save(tmp_path / "last")
    monkeypatch.setattr(os, "link", refuse)
    save_best(tmp_path / "best", tmp_path / "last", POSITION.history[1])
    assert weights_hash(load_weights(tmp_path / "best")[0]) == weights_hash(learner.network.state_dict())


def test_weights_are_stored_with_plain_strides_and_their_metadata(tmp_path: Path) -> None:
    learner = small(0)
    learner.save(tmp_path / "last")
    with safe_open(tmp_path / "last" / WEIGHTS_NAME, framework="pt") as file:
        assert file.metadata() == METADATA
        assert torch.equal(file.get_tensor("0.weight"), learner.network.state_dict()["0.weight"])


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
def test_death_at_any_moment_leaves_the_old_or_the_new_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_left_behind: bool
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
            write(folder, "new")
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


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as partial:
        for name in ("one", "two"):
            (partial / name).write_text(text)


def content(folder: Path) -> str:
    whole = whole_folder(folder)
    assert whole is not None
    (text,) = {(whole / name).read_text() for name in ("one", "two")}
    return text
