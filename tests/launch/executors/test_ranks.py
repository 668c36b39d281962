"""Processes of one run: they end together, the worst status counts, and srun's variables become torch's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.logging_setup import set_up_logging
from launch.executors.ranks import run_ranks, started_alone
from launch.executors.slurm.environment import adopt_srun_ranks, first_host, tasks_on_node

ROOT = Path(__file__).resolve().parents[3]


def ranks(code: str, num_processes: int = 3) -> int:
    return run_ranks(
        [sys.executable, "-c", f"import os, sys, time; rank = int(os.environ['RANK'])\n{code}"], num_processes
    )


def test_all_start_with_their_variables_and_only_the_first_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    names = "['RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR']"
    assert ranks(f"print([os.environ[name] for name in {names}], flush=True)") == 0
    assert capfd.readouterr().out == "['0', '0', '3', '3', '127.0.0.1']\n"


def test_one_dead_process_ends_all_and_its_last_words_are_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up_logging()
    monkeypatch.setattr("launch.executors.ranks.GRACE_S", 0.2)
    started = time.monotonic()
    assert ranks("print('dying', rank, file=sys.stderr); sys.exit(7) if rank == 1 else time.sleep(60)") == 7
    assert time.monotonic() - started < 20
    assert "error: process 1 of 3:\ndying 1\n" in capfd.readouterr().err


def test_a_killed_process_is_named_at_last(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    code = (
        "print('on', rank, file=sys.stderr, flush=True); os.kill(os.getpid(), 9 * (rank == 1)); sys.exit(rank == 0)"
    )
    assert ranks(code) == 137
    assert capfd.readouterr().err.splitlines()[-1] == "error: process 1 was killed by signal 9 (Killed)"


@pytest.mark.parametrize(("code", "status"), [("sys.exit(rank)", 2), ("os.kill(os.getpid(), 9 * (rank == 2))", 137)])
def test_the_worst_status_counts(code: str, status: int) -> None:
    assert ranks(code) == status


def test_signals_that_are_ignored_are_ignored_by_all(capfd: pytest.CaptureFixture[str]) -> None:
    """A scheduler may send them to every process, and the run's stop comes by another one, once."""
    names = "[name for name in ('SIGINT', 'SIGTERM') if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]"
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert ranks(f"import signal; print({names}, flush=True)", 2) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capfd.readouterr().out == "['SIGINT', 'SIGTERM']\n"


def test_a_signal_reaches_all(tmp_path: Path) -> None:
    each = (
        "import os, pathlib, signal, sys, time; "
        f"place = pathlib.Path({str(tmp_path)!r}, os.environ['RANK']); "
        "signal.signal(signal.SIGTERM, lambda *_: (place.write_text('told'), sys.exit(143))); "
        "place.write_text('up'); time.sleep(60)"
    )
    start = f"run_ranks([sys.executable, '-c', {each!r}], 2)"
    code = f"import sys; from launch.executors.ranks import run_ranks; sys.exit({start})"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while [path.read_text() for path in tmp_path.iterdir()] != ["up", "up"]:
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=30) == 143
    assert [path.read_text() for path in tmp_path.iterdir()] == ["told", "told"]


def test_srun_tasks_become_ranks() -> None:
    environment = {
        "SLURM_STEP_NUM_TASKS": "6",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_JOB_ID": "12",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_STEP_TASKS_PER_NODE": "4,2",
    }
    adopt_srun_ranks(environment)
    assert (environment["RANK"], environment["LOCAL_RANK"], environment["WORLD_SIZE"]) == ("5", "1", "6")
    assert (environment["LOCAL_WORLD_SIZE"], environment["MASTER_ADDR"]) == ("2", "gpu03")
    assert environment["MASTER_PORT"] == "20084"


@pytest.mark.parametrize(
    "given", [{}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": "4", "WORLD_SIZE": "4"}]
)
def test_without_several_tasks_nothing_is_changed(given: dict[str, str]) -> None:
    environment = dict(given)
    adopt_srun_ranks(environment)
    assert environment == given


def test_slurms_short_forms() -> None:
    assert [first_host(text) for text in ("n1", "gpu[003-007,9],x", "a,b", "rack-2-n[7]")] == [
        "n1",
        "gpu003",
        "a",
        "rack-2-n7",
    ]
    assert [tasks_on_node("4(x2),3", node) for node in range(3)] == [4, 4, 3]


def test_what_accelerate_launch_starts_alone_is_told_from_its_environment() -> None:
    """As it starts ``--cpu --num_processes 2``; for one process it sets no MASTER_ADDR."""
    alone = {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert started_alone(alone)
    assert not started_alone({"ACCELERATE_USE_CPU": "True"})
    assert not started_alone({**alone, "WORLD_SIZE": "2"})
    assert not started_alone({**alone, "PMI_SIZE": "2"})
    assert not started_alone({"MASTER_ADDR": "127.0.0.1"})
