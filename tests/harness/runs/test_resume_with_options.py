"""A run with every option of training, stopped in the middle of an epoch, ends with the bits of the whole one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from stopped_runs import train_until
from tiny_runs import all_options, hash_of, tiny_config, tiny_runtime, without_times

from harness.runs.checkpoint import load_weights
from harness.training.run import train_run


@pytest.mark.slow
def test_resumed_with_every_option_to_the_bit(tiny_beton: Path, tmp_path: Path) -> None:
    config = all_options(tiny_config(epochs=2))
    whole, stopped = (tiny_runtime(tiny_beton, tmp_path / name) for name in ("whole", "stopped"))
    result = train_run(config, whole)
    assert train_until(config, stopped, signal.SIGTERM, 2) == 143
    assert train_until(config, stopped, signal.SIGTERM, 2) == 143  # in the second epoch
    again = train_run(config, stopped)
    theirs, ours = whole.folder_of(config), stopped.folder_of(config)
    assert again["restarts"] == 2
    assert again["weights_hash"] == result["weights_hash"]
    assert hash_of(ours.last_dir) == hash_of(theirs.last_dir)
    assert without_times(ours) == without_times(theirs)
    lines = without_times(ours)
    assert [line["step"] for line in lines] == [3, 6]
    assert lines[-1]["learning_rate"] < lines[0]["learning_rate"] < config.schedule.learning_rate
    state = torch.load(ours.last_dir / "state.pt", weights_only=True)
    kept = load_weights(ours.last_dir)[0]
    assert not torch.equal(state["network"]["classifier.weight"], kept["classifier.weight"]), "files hold the average"
