"""What a submit shows while it works: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import grid_stand_in
from grid_stand_in import small_runs

from launch.executors.base import Outcome
from launch.executors.local.progress import describe
from launch.plan.tables import clock, number


def on_a_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Exit status and what the command showed on a terminal of this width, without escape sequences."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65_536):
            shown += part
    except OSError:  # Linux reports the closed terminal as an input error
        pass
    os.close(master)
    return process.wait(timeout=20), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_the_live_table_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    behaviours = json.dumps({"pretrain": "ok:1.5", "teacher": "ok:1.5"})
    command = [sys.executable, grid_stand_in.__file__, "submit", str(tmp_path), "2", behaviours]
    status, shown = on_a_terminal(command, 80)
    assert status == 0
    headers = [line for line in re.split(r"[\r\n]+", shown) if "running" in line]
    assert headers
    assert all(re.search(r"\[\d/6\] running +epoch +AUROC +images/s +time", header) for header in headers)
    assert re.search(r"pretrain +1/2 +0\.6000 +- +\d\.\d s", shown)
    assert "[6/6] done d after" in shown


def test_words_and_numbers_of_the_live_lines() -> None:
    assert [clock(seconds) for seconds in (7.52, 192, 3792)] == ["7.5 s", "3:12", "1:03:12"]
    assert (number(None, 1), number(1234.5, 0), number(0.81239, 4)) == ("-", "1,234", "0.8124")
    run = small_runs()["a"]
    done = Outcome(run=run, state="done", mean_auroc=0.75, seconds=61.0)
    assert describe(done) == ["done a after 1:01, test AUROC 0.7500"]
    failed = Outcome(run=run, state="failed", reason="x", seconds=1.0, log_tail=("one", "two"))
    assert describe(failed) == ["failed a after 1.0 s: x", "    one", "    two"]
