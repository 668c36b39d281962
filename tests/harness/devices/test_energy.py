"""Energy of a run's devices: the counters' joules, shares and wraps, and sums over processes and starts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from accelerator_state import forget_accelerator
from tiny_runs import tiny_config, tiny_runtime

from harness.devices import energy
from harness.devices.energy import EnergyMeter, nvml_counter, rapl_counter
from harness.runs.folder import RunFolder
from harness.runs.step_hashes import StepsDone
from harness.training import run as training
from harness.training.run import train_run

KWH = 3.6e6


def write_package(powercap: Path, name: str, microjoules: int, most: int) -> None:
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")


def test_a_processor_counts_its_packages_by_the_share_of_cpu_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([(10.0, 100.0), (14.0, 116.0), (14.0, 200.0), (30.0, 208.0)])
    monkeypatch.setattr(energy, "_cpu_seconds", lambda: next(seconds))
    write_package(tmp_path, "intel-rapl:0", 1_000_000, 9_999_999)
    write_package(tmp_path, "intel-rapl:1", 9_000_000, 9_999_999)
    write_package(tmp_path, "intel-rapl:0:0", 5, 10)  # a part of package 0, which counts it already
    used = rapl_counter(tmp_path)
    assert used is not None
    write_package(tmp_path, "intel-rapl:0", 5_000_000, 9_999_999)
    write_package(tmp_path, "intel-rapl:1", 3_000_000, 9_999_999)  # began anew at 10 J
    assert used() == pytest.approx((4.0 + 4.0) * 4 / 16)
    assert used() == 0.0
    write_package(tmp_path, "intel-rapl:0", 6_000_000, 9_999_999)
    assert used() == pytest.approx(1.0)  # clocks are coarse: never more than all


def test_a_processor_that_does_not_tell_counts_nothing(tmp_path: Path) -> None:
    assert rapl_counter(tmp_path) is None
    (tmp_path / "intel-rapl:0").mkdir()  # whose files only root may read
    assert rapl_counter(tmp_path) is None


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in of NVML's answers for one GPU."""
    made = SimpleNamespace(millijoules=5_000_000, processes=1, clients=0, cut=0)
    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: made.millijoules,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [object()] * made.processes,
        "nvmlDeviceGetMPSComputeRunningProcesses": lambda _: [object()] * made.clients,
        "nvmlDeviceGetMigMode": lambda _: [made.cut, made.cut],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    return made


def test_a_gpu_shares_its_energy_among_the_processes_on_it(gpu: SimpleNamespace) -> None:
    used = nvml_counter("GPU-1")
    assert used is not None
    gpu.millijoules += 7_000
    assert used() == 7.0
    gpu.millijoules, gpu.processes = gpu.millijoules + 8_000, 2
    assert used() == 4.0
    gpu.millijoules, gpu.clients = gpu.millijoules + 8_000, 4  # and the daemon of MPS
    assert used() == 2.0
    gpu.millijoules, gpu.clients, gpu.processes = gpu.millijoules + 8_000, 0, 0  # as a container may see it
    assert used() == 8.0


def test_a_gpu_that_is_cut_or_unknown_counts_nothing(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.cut = 1
    assert nvml_counter("GPU-1") is None
    monkeypatch.undo()
    assert nvml_counter("GPU-no-such") is None  # NVML itself, with a driver or without


def test_a_meter_adds_up_processes_and_starts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.energy_kwh() is None
    with EnergyMeter(folder, 0, None):
        pass
    assert not folder.energy_dir.exists()
    for rank, kwh in ((0, 1.0), (1, 2.0), (0, 0.5)):
        with EnergyMeter(folder, rank, lambda kwh=kwh: kwh * KWH) as meter:
            meter.record()
    assert folder.energy_kwh() == 2 * (1.0 + 2.0 + 0.5)
    (folder.energy_dir / "1.json").write_text("{")
    assert folder.energy_kwh() == 3.0


def test_a_meter_looks_again_by_itself_and_a_failing_counter_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(energy, "SAMPLE_S", 0.01)
    looks = iter([KWH, KWH])

    def counter() -> float:
        try:
            return next(looks)
        except StopIteration:
            raise OSError("NVML: GPU is lost") from None

    deadline = time.monotonic() + 20
    with EnergyMeter(RunFolder(tmp_path), 0, counter) as meter:
        while meter._counter is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert RunFolder(tmp_path).energy_kwh() == 2.0
    assert [record.message for record in caplog.records] == ["energy is counted no longer: NVML: GPU is lost"]


def test_a_runs_energy_is_in_its_status_and_result_over_all_starts(
    tiny_beton: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(epochs=1)
    monkeypatch.setattr(training, "energy_counter", lambda _: lambda: KWH)  # a kWh at each look
    folder = RunFolder(tmp_path / "runs" / config.run_id)
    with pytest.raises(StepsDone):
        train_run(config, tiny_runtime(tiny_beton, tmp_path / "runs", max_steps=1))
    forget_accelerator()
    assert folder.status()["energy_kwh"] == folder.energy_kwh() == 1.0
    result = train_run(config, tiny_runtime(tiny_beton, tmp_path / "runs"))
    assert result["energy_kwh"] == json.loads(folder.result_file.read_text())["energy_kwh"] == 2.0
    assert folder.status()["energy_kwh"] == 3.0  # with what came after the result
