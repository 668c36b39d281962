"""The process that starts decoding processes: taken early or late, ended with its holder, missed when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import command_environment, session_members, wait_until, write_dataset

from datasets.convert.fork_server import DecodeServer, Recipe, decoders_starting, take_server
from datasets.convert.pool import DecodePool, Page

RECIPE = Recipe(size=32, resize="shorter", at_least=64, jpeg_quality=None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), 8)


def images(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_first_pool_takes_the_server_that_was_started_early(root: Path) -> None:
    with decoders_starting():
        with DecodePool(root, size=32, resize="shorter", workers=2) as pool:
            assert pool.pids == []
            outcomes = list(pool.decode(images(root)))
            early = pool.pids
        with DecodePool(root, size=32, resize="shorter", workers=1) as pool:
            assert list(pool.decode(images(root))) == outcomes
            late = pool.pids
    assert len(early) == 3 and len(late) == 2 and early[-1] != late[-1]
    assert all(isinstance(outcome, Page) for outcome in outcomes) and len(outcomes) == 8
    assert all(map(gone, early + late))


def test_a_server_that_nobody_takes_ends_with_the_block() -> None:
    with decoders_starting():
        pass
    with take_server() as server:
        assert not gone(server.pid)
    assert gone(server.pid)


def test_it_says_how_a_worker_ended(root: Path) -> None:
    with DecodeServer() as server:
        for number in (signal.SIGSEGV, signal.SIGKILL):
            pid, pipe = server.start(str(root), RECIPE)
            os.kill(pid, number)
            assert server.wait(pid) == -number
            pipe.close()
        pid, pipe = server.start(str(root), RECIPE)
        pipe.close()
        assert server.wait(pid) == 0


def test_a_server_that_was_killed_is_an_error_and_not_a_wait_for_ever(root: Path) -> None:
    with pytest.raises(RuntimeError, match="that starts decode workers has ended"), DecodeServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        server.start(str(root), RECIPE)


HOLDER = """
import sys, time
from datasets.convert.pool import DecodePool
root, *paths = sys.argv[1:]
with DecodePool(root, size=32, resize="shorter", workers=2) as pool:
    next(pool.decode(paths))
    print("running", flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_when_the_holder_is_killed(root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), *images(root)],
        stdout=subprocess.PIPE,
        env=command_environment(),
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"running\n"
        assert len(session_members(holder.pid)) == 4
        holder.kill()
        wait_until(lambda: session_members(holder.pid) == [], timeout_s=60)
