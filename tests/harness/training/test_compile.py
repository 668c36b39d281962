"""Fused Adam and the compiled student: the plain ones' results, and a compiler that runs for whole batches alone."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from plain_network import plain_components
from tiny_runs import tiny_runtime, tiny_schedule

from harness.config import NetworkConfig, Schedule
from harness.devices.accelerator import make_accelerator
from harness.networks import build_network
from harness.training.optimizer import build_optimizer
from harness.training.step import CACHE_VARIABLE, CompiledNetwork, keep_compiled_code


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))


def test_batches_of_another_size_are_never_compiled(monkeypatch):
    calls = []
    monkeypatch.setattr(
        torch, "compile", lambda network, **_: lambda batch: calls.append(len(batch)) or network(batch)
    )
    network = build_network(NetworkConfig(name="densenet40"), 3)
    monkeypatch.setattr(torch._inductor.config, "deterministic", False)
    compiled = CompiledNetwork(network, 4)
    assert torch._inductor.config.deterministic, (
        "no kernel is chosen by timing, which differs from process to process"
    )
    for batch in (4, 3, 1, 4):
        compiled(images(batch))
    compiled.eval()
    compiled(images(4))
    assert calls == [4, 4]
    assert [id(parameter) for parameter in compiled.parameters()] == [id(one) for one in network.parameters()]


def test_each_process_compiles_for_its_own_share(tiny_beton: Path, tmp_path: Path, monkeypatch) -> None:
    """Of 15 images over two processes the first has 8."""
    sizes = []
    monkeypatch.setattr("harness.training.build.CompiledNetwork", lambda network, size: sizes.append(size) or network)
    accelerator = make_accelerator(tiny_runtime(tiny_beton, tmp_path))
    monkeypatch.setattr(type(accelerator), "num_processes", 2)
    for rank in (0, 1):
        monkeypatch.setattr(type(accelerator), "process_index", rank)
        plain_components(accelerator, tiny_beton, schedule=tiny_schedule(1, batch_size=15), compile=True)
    assert sizes == [8, 7]


COMPILING = """
import sys, torch
import harness.networks
from harness.training.step import keep_compiled_code
keep_compiled_code()
assert torch.compile(lambda x: torch.relu(x) + 1)(torch.ones(3000)).sum() == 6000
"""


@pytest.mark.slow
def test_compiled_code_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    """PyTorch's compiler, once imported, has set a place of its own."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    environment.pop(CACHE_VARIABLE, None)
    (tmp_path / "tmp").mkdir()
    subprocess.run([sys.executable, "-c", COMPILING], env=environment, check=True, timeout=200)
    assert any(path.is_file() for path in (tmp_path / "cache" / "cxr-harness" / "inductor").rglob("*"))
    assert not list((tmp_path / "tmp").glob("torchinductor_*/**/*.cpp"))


def test_without_a_home_folder_compiled_code_stays_where_pytorch_puts_it(monkeypatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    keep_compiled_code()
    assert CACHE_VARIABLE not in os.environ


def test_a_place_that_the_user_chose_for_compiled_code_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    keep_compiled_code()
    assert os.environ[CACHE_VARIABLE] == str(tmp_path)


@pytest.mark.parametrize("steps", [1, 5])
def test_fused_adam_makes_plain_adams_steps_to_rounding(steps):
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    optimizers = [
        build_optimizer([weights[0]], Schedule(learning_rate=1e-2)),
        torch.optim.Adam([weights[1]], lr=1e-2),
    ]
    for _ in range(steps):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            (weight**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.allclose(*weights, rtol=1e-6, atol=1e-7)


def test_fused_adam_goes_on_bit_for_bit_from_its_state():
    def train(weight, optimizer, steps):
        for _ in range(steps):
            (weight**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    through = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = build_optimizer([through], Schedule(learning_rate=1e-2))
    train(through, optimizer, 3)
    stopped = torch.nn.Parameter(through.detach().clone())
    again = build_optimizer([stopped], Schedule(learning_rate=1e-2))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # loading takes tensors as they are
    train(through, optimizer, 3)
    train(stopped, again, 3)
    assert torch.equal(through, stopped)
