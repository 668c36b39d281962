"""``cxr train --num-processes 2``: one run over two processes, its numbers, and its exact resume."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from stopped_runs import command, run
from tiny_runs import hash_of, read_status, tiny_config, tiny_runtime, without_times

from datasets.errors import InputError
from datasets.files import read_json
from harness.config import NetworkConfig, to_dict
from harness.devices.accelerator import make_accelerator, point_at_own_gpu
from harness.runs.checkpoint import load_weights
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.training.run import train_run
from launch.cli.train import Train

CONFIG = tiny_config(epochs=1, network=NetworkConfig(name="densenet40", sync_bn=True))
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def shared(tiny_beton: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Three steps over two processes, batch norm synchronised."""
    runs_dir = tmp_path_factory.mktemp("shared")
    ended = run(command(CONFIG, tiny_beton, runs_dir, "--num-processes", "2"))
    assert ended.returncode == 0, ended.stderr
    folder = RunFolder(runs_dir / CONFIG.run_id)
    assert ended.stdout.count("test mean AUROC") == 1
    assert ended.stderr.count("random weights") == 1
    assert "OMP_NUM_THREADS" not in ended.stderr and "broadcast_buffers" not in ended.stderr
    return folder


@pytest.mark.slow
def test_it_is_one_run_of_two_processes(shared: RunFolder) -> None:
    assert read_json(shared.result_file)["world_size"] == 2
    assert read_json(shared.provenance_file)["runtime"]["num_processes"] == 2
    assert [path.name for path in shared.best_dir.parent.iterdir()] == ["best"]


@pytest.mark.slow
def test_with_synchronised_batch_norm_the_real_network_agrees(
    shared: RunFolder, tiny_beton: Path, tmp_path: Path
) -> None:
    """DenseNet-40: Adam's first steps are as large for a tiny gradient as for a big one, so rounding can show."""
    config, alone = tiny_config(epochs=1), tiny_runtime(tiny_beton, tmp_path)
    train_run(config, alone)
    (ours,), (theirs,) = shared.metrics(), alone.folder_of(config).metrics()
    assert ours["train"]["loss"] == pytest.approx(theirs["train"]["loss"], rel=1e-3)
    assert ours["validation"]["cross_entropy"] == pytest.approx(theirs["validation"]["cross_entropy"], rel=1e-2)
    one, two = load_weights(alone.folder_of(config).best_dir)[0], load_weights(shared.best_dir)[0]
    assert one.keys() == two.keys()
    far = {name: (one[name].double() - two[name].double()).abs().flatten() for name in one}
    weights = torch.cat([value for name, value in far.items() if name.endswith((".weight", ".bias"))])
    # Three steps of Adam at 1e-3 move a weight by some 3e-3; one that batch norm makes irrelevant, such as the bias
    # before it, has a gradient of rounding alone and may move anywhere.
    assert weights.mean() < 3e-4
    assert max(value.mean() for name, value in far.items() if "running_" in name) < 1e-2  # they lie near 1
    predictions = pd.read_parquet(shared.predictions_file), pd.read_parquet(alone.folder_of(config).predictions_file)
    assert predictions[0]["index"].tolist() == predictions[1]["index"].tolist()


@pytest.mark.slow
def test_stopped_at_its_steps_by_three_signals_to_one_process_it_goes_on_bit_for_bit(
    shared: RunFolder, tiny_beton: Path, tmp_path: Path
) -> None:
    """SIGTERM and SIGINT stop both processes one step later; SIGKILL ends both, and the checkpoint before is used."""
    arguments = command(CONFIG, tiny_beton, tmp_path)
    torchrun = [sys.executable, *TORCHRUN, *arguments[1:]]
    folder = RunFolder(tmp_path / CONFIG.run_id)
    interrupted = {"interrupted"}
    for stop, states in (
        (signal.SIGTERM, interrupted),  # in step 1: stops after step 2
        (signal.SIGKILL, {"running", "failed"}),  # in step 3; the first process may say that it lost the other
        (signal.SIGINT, interrupted),  # in step 3: stops before validation
    ):
        ended = run(torchrun, stop=stop, at_step=1, rank=random.randint(0, 1))
        assert ended.returncode != 0, (stop, ended.stderr)
        assert read_status(folder)["state"] in states, (stop, ended.stderr)
        assert not folder.best_dir.exists()
    again = run(command(CONFIG, tiny_beton, tmp_path, "--num-processes", "2"))
    assert again.returncode == 0, again.stderr
    assert read_json(folder.result_file)["restarts"] == 2  # the killed start left nothing behind
    assert hash_of(folder.best_dir) == hash_of(shared.best_dir)  # of the only epoch, so of the last step too
    assert without_times(folder) == without_times(shared)
    assert folder.predictions_file.read_bytes() == shared.predictions_file.read_bytes()


@pytest.mark.slow
def test_another_number_of_processes_than_before_needs_a_flag_and_is_recorded(
    tiny_beton: Path, tmp_path: Path
) -> None:
    config = tiny_config(epochs=1)
    run([sys.executable, *TORCHRUN, *command(config, tiny_beton, tmp_path)[1:]], stop=signal.SIGTERM, at_step=1)
    folder = RunFolder(tmp_path / config.run_id)
    assert read_status(folder)["state"] == "interrupted"
    refused = run(command(config, tiny_beton, tmp_path))
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert (
        "trained by 2 processes so far, now by 1, which gives other numbers; use --num-processes 2" in refused.stderr
    )
    meant = run(command(config, tiny_beton, tmp_path, "--change-num-processes"))
    assert meant.returncode == 0, meant.stderr
    (first, second) = read_json(folder.provenance_file)["processes"]
    assert first == {"from_step": 0, "processes": 2}
    assert second["processes"] == 1 and 0 < second["from_step"] < 3


@pytest.mark.parametrize(("local_rank", "count", "own"), [("1", 4, "1"), ("1", 1, "0"), ("0", 1, "0")])
def test_a_task_that_sees_its_own_gpu_alone_takes_it(
    monkeypatch: pytest.MonkeyPatch, local_rank: str, count: int, own: str
) -> None:
    """``srun --gpus-per-task=1``: Accelerate would give DDP the device of the local rank, which is not there."""
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    used: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    point_at_own_gpu(2)
    assert os.environ["LOCAL_RANK"] == own and used == [int(own)]


def test_a_process_tries_a_precision_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first one each of them would keep a context, and where that one is exclusive find no bfloat16."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    used: list[int] = []
    for name, value in {"is_available": lambda: True, "device_count": lambda: 2, "set_device": used.append}.items():
        monkeypatch.setattr(torch.cuda, name, value)

    class TriedError(Exception):
        """The precision is tried now."""

    def tried(*_: object, **__: object) -> None:
        raise TriedError

    monkeypatch.setattr("harness.devices.accelerator.chosen_precision", tried)
    with pytest.raises(TriedError):
        make_accelerator(RuntimeConfig(device="cuda"))
    assert used == [1]


def test_more_processes_than_gpus_are_refused_before_any_starts(
    monkeypatch: pytest.MonkeyPatch, tiny_beton: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("launch.cli.train.NVIDIA_DRIVER", tmp_path)
    monkeypatch.setattr("launch.cli.train.run_ranks", lambda *_: pytest.fail("processes were started"))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(tiny_config())))
    with pytest.raises(InputError, match="3 processes on this machine, but torch sees 2 GPUs; start at most 2"):
        Train(config=tmp_path / "config.json", beton=tiny_beton, num_processes=3).run()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="start at most 2 processes"):
        point_at_own_gpu(3)


def test_another_number_than_the_launcher_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(InputError, match="num_processes = 2, but 1 were started"):
        make_accelerator(RuntimeConfig(device="cpu", num_processes=2))
