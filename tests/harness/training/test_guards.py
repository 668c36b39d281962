"""Guards: a loss that is not finite, too little memory, a full disk, labels without positives: one line each."""

from __future__ import annotations

import dataclasses
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_network import one_epoch, plain_components
from stopped_runs import command, run
from tiny_runs import hash_of, interrupted, read_status, tiny_config, tiny_runtime, tiny_schedule
from torch import Tensor

from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.epoch_plan import epoch_order
from harness.devices.accelerator import make_accelerator
from harness.networks import NetworkOutput
from harness.objectives import Losses, SupervisedObjective
from harness.runs.folder import RunFolder
from harness.training.config_file import load_config
from harness.training.guards import out_of_memory_as_memory_error
from harness.training.loop import TrainingComponents
from harness.training.preflight import check_labels
from harness.training.run import train_run
from harness.training.step import EagerForwardBackward


@dataclasses.dataclass
class BadAt:
    """Cross-entropy, but for some calls, from 0, in which it is not a number."""

    calls: frozenset[int]
    module: None = None
    _count: int = 0

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        losses = SupervisedObjective()(output, inputs, targets)
        self._count += 1
        if self._count - 1 not in self.calls:
            return losses
        return Losses(losses.total * float("nan"), losses.cross_entropy * float("nan"), None)


def bad_parts(beton: Path, tmp_path: Path, *calls: int, **changes: Any) -> TrainingComponents:
    accelerator = make_accelerator(tiny_runtime(beton, tmp_path))
    components = plain_components(accelerator, beton, **changes)
    step = EagerForwardBackward(
        accelerator=accelerator, wrapped=components.wrapped, objective=BadAt(frozenset(calls))
    )
    return dataclasses.replace(components, forward_backward=step)


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_images(tiny_beton: Path, tmp_path: Path) -> None:
    order = epoch_order(Beton.open(tiny_beton).indices("train", "40"), seed=0, epoch=0)
    named = ", ".join(map(str, sorted(order[16:32].tolist())))
    with pytest.raises(FloatingPointError, match=f"not finite at step 1 of epoch 0 .* images {named} of the beton"):
        one_epoch(bad_parts(tiny_beton, tmp_path, 1, 2))


def test_a_step_can_be_left_out_and_is_counted(tiny_beton: Path, tmp_path: Path) -> None:
    """The last one of three left out is an epoch of the first two."""
    found = one_epoch(bad_parts(tiny_beton, tmp_path, 2, on_nonfinite="skip"))
    assert found["skipped"] == 1
    assert len(found["indices"]) == 32
    assert np.isfinite(found["sums"]).all()
    assert all(np.isfinite(value).all() for value in found["weights"].values())
    other = one_epoch(bad_parts(tiny_beton, tmp_path, 0, on_nonfinite="skip"))
    assert other["weights"] != found["weights"]


def test_an_epoch_without_any_step_is_no_epoch(tiny_beton: Path, tmp_path: Path) -> None:
    from harness.runs.train_state import PartialEpoch
    from harness.training.epoch_meter import means

    none = torch.zeros(0)
    nothing = PartialEpoch(
        batches=3,
        skipped=3,
        images=40,
        measured=0,
        seconds=1.0,
        data_wait_s=0.0,
        has_attention=False,
        sums=torch.zeros(1, 3),
        indices=none,
        logits=none,
        targets=none,
    )
    with pytest.raises(FloatingPointError, match="none of the epoch's 3 steps"):
        means(nothing, ("a",))


def test_a_diverging_run_ends_with_one_line(tiny_beton: Path, tmp_path: Path) -> None:
    config = tiny_config(schedule=tiny_schedule(2, learning_rate=1e30))
    ended = run(command(config, tiny_beton, tmp_path))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: training diverged: the loss is not finite at step 1")
    assert read_status(RunFolder(tmp_path / config.run_id))["state"] == "failed"


def test_too_little_memory_says_what_was_asked_for() -> None:
    asked = {"batch_size": 32, "num_processes": 3, "image_size": 256, "precision": "fp32"}
    message = r"out of main memory at a batch of 11 per process \(32 over 3\), images of 256 px, fp32: .* lower"
    with pytest.raises(MemoryError, match=message), out_of_memory_as_memory_error(**asked):  # type: ignore[arg-type]
        torch.empty(1 << 60)
    with pytest.raises(MemoryError, match="out of GPU memory"), out_of_memory_as_memory_error(**asked):  # type: ignore[arg-type]
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another"), out_of_memory_as_memory_error(**asked):  # type: ignore[arg-type]
        raise RuntimeError("another")


@pytest.mark.parametrize("limit", [100, 200_000])
def test_a_full_disk_is_one_line_and_keeps_the_checkpoint_before(
    tiny_beton: Path, tmp_path: Path, limit: int
) -> None:
    """The largest file allowed is smaller than any line or any checkpoint: so is what is left on a full disk."""
    config, runtime = tiny_config(epochs=2), tiny_runtime(tiny_beton, tmp_path)
    folder = runtime.folder_of(config)
    interrupted(config, runtime, after_epochs=1)
    kept = hash_of(folder.last_dir)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError, match=r"the largest file size allowed here is reached; .*kept: make room"):
            train_run(config, runtime)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert hash_of(folder.last_dir) == kept
    assert not list((folder.path / "checkpoint").glob("*.partial"))
    assert train_run(config, runtime)["restarts"] == 1


def test_a_label_without_a_positive_is_named(
    tiny_beton: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beton = Beton.open(tiny_beton)
    targets = beton.targets.copy()
    targets[:, 1] = np.where(targets[:, 1] == 1, 0, targets[:, 1])
    monkeypatch.setitem(beton.__dict__, "targets", targets)
    check_labels(tiny_config(), beton)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: split train, subset 40: no positive image of Mass: never learnt"
    assert all("no AUROC" in line and "Mass" in line for line in lines[1:])


DATA = '[data]\ndataset = "chestxray14"\nimage_size = 64\n'
TEACHER = '[objective]\nmethod = "attention_transfer"\nbeta = 1.0\n[objective.teacher]\nkind = "run"\nrun = "no"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DATA + "sise = 3\n", "data.sise: unknown key; did you mean subset"),
        (DATA + TEACHER, "no run folder there"),
        (DATA + "[runtime]\ncheckpoint_minutes = -1\n", "runtime: checkpoint_minutes must be at least 0"),
    ],
)
def test_an_unknown_key_and_an_absent_teacher_are_one_line_each(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "run.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
