"""The fork server behind decode processes: started early or late, ended with its holder, missed when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import command_environment, session_members, wait_until, write_dataset

from datasets.convert.pool import DecodePool, start_fork_server
from datasets.convert.protocol import DecodeSpec, Page

SPEC = DecodeSpec(size=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), 8)


def images(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for its parent to notice."""
    return gone(pid) or Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_pools_share_the_server_and_leave_no_worker(root: Path) -> None:
    start_fork_server()
    start_fork_server()
    found, servers, started = [], set(), []
    for workers in (2, 1):
        with DecodePool(root, SPEC, workers=workers) as pool:
            assert pool.pids == []
            found.append(list(pool.decode(images(root))))
            assert len(pool.pids) == workers
            started += pool.pids
            servers |= set(map(parent_of, pool.pids))
    assert found[0] == found[1] and len(found[0]) == 8
    assert all(isinstance(outcome, Page) for outcome in found[0])
    assert len(servers) == 1 and os.getpid() not in servers
    assert all(map(gone, started))


def test_paths_of_odd_bytes_are_decoded(root: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"odd-\xff.png")
    (tmp_path / odd).write_bytes((root / images(root)[0]).read_bytes())
    with DecodePool(tmp_path, SPEC, workers=1) as pool:
        assert isinstance(next(pool.decode([odd])), Page)


def test_a_server_that_was_killed_is_an_error_and_not_a_wait_for_ever(root: Path) -> None:
    with DecodePool(root, SPEC, workers=1) as pool:
        outcomes = pool.decode(images(root))
        next(outcomes)
        (worker,) = pool.pids
        server = parent_of(worker)
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: ended(server))
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="that starts decode workers has ended"):
            list(outcomes)
    with DecodePool(root, SPEC, workers=1) as pool:  # and the next pool starts another
        assert len(list(pool.decode(images(root)))) == 8


HOLDER = """
import sys, time
from pathlib import Path
from datasets.convert.pool import DecodePool
from datasets.convert.protocol import DecodeSpec
root, *paths = sys.argv[1:]
with DecodePool(Path(root), DecodeSpec(size=32), workers=2) as pool:
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
        # The holder, two workers, the fork server and multiprocessing's resource tracker.
        assert len(session_members(holder.pid)) == 5
        holder.kill()
        wait_until(lambda: session_members(holder.pid) == [], timeout_s=60)


def test_the_converter_itself_loads_no_decoder() -> None:
    code = "import sys, datasets.convert.pool; print([name for name in ('cv2', 'numba') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
