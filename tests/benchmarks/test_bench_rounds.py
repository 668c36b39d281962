"""Contenders as processes: taking turns, failing, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.common.contenders import Contender
from benchmarks.common.rounds import Running, measure_rounds, started

COUNTING = """
import json, sys, threading, time, pathlib
ticks = pathlib.Path(sys.argv[1]).parent / "NAME.ticks"
def tick():
    while True:
        with ticks.open("a") as file: file.write("x")
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
print('"ready"', flush=True)
for line in sys.stdin:
    time.sleep(json.loads(line)["seconds"])
    print(json.dumps([100, 0.5]), flush=True)
"""
FAILING = "import sys; sys.exit('no such codec')"
FAILING_LATER = "print('\"ready\"', flush=True); input(); raise ValueError('broken picture')"


@dataclass(frozen=True)
class Scripted(Contender):
    """A contender whose process runs a script."""

    script: str = COUNTING

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.script.replace("NAME", self.name)]


def scripted(name: str, script: str = COUNTING) -> Scripted:
    return Scripted(name, name, "pages", "none", script=script)


def processes_of(group: int) -> list[str]:
    """States of the living processes in a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(fields[0])
    return found


def test_each_round_gives_one_rate_and_each_contender_comes_first_once(tmp_path: Path) -> None:
    with started([scripted("a"), scripted("b")], tmp_path / "pictures", tmp_path) as (running, failed):
        rates = measure_rounds(running, failed, rounds=2, seconds=0.01)
        groups = [one._process.pid for one in running]
    assert failed == {}
    assert rates == {"a": [200.0, 200.0], "b": [200.0, 200.0]}
    assert [processes_of(group) for group in groups] == [[], []]


def test_a_contender_stands_still_while_it_is_not_its_turn(tmp_path: Path) -> None:
    with started([scripted("a")], tmp_path / "pictures", tmp_path) as (running, failed):
        measure_rounds(running, failed, rounds=1, seconds=0.05)
        ticks = tmp_path / "a.ticks"
        deadline = time.monotonic() + 10
        while processes_of(running[0]._process.pid) != ["T"] and time.monotonic() < deadline:
            time.sleep(0.01)
        before = ticks.stat().st_size
        time.sleep(0.1)
        assert before > 0 and ticks.stat().st_size == before


def test_a_contender_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    both = [scripted("bad", FAILING), scripted("good")]
    with started(both, tmp_path / "pictures", tmp_path) as (running, failed):
        assert [one.contender.name for one in running] == ["good"]
    assert failed == {"bad": "ended: no such codec"}


def test_a_contender_that_fails_in_a_round_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    contenders = [scripted("late", FAILING_LATER), scripted("good")]
    with started(contenders, tmp_path / "pictures", tmp_path) as (running, failed):
        groups = [one._process.pid for one in running]
        rates = measure_rounds(running, failed, rounds=2, seconds=0.01)
    assert rates == {"good": [200.0, 200.0]}
    assert failed == {"late": "ended: ValueError: broken picture"}
    assert [processes_of(group) for group in groups] == [[], []]


def test_sigterm_ends_contenders_that_stand_still(tmp_path: Path) -> None:
    before, groups = signal.getsignal(signal.SIGTERM), []
    with (
        pytest.raises(SystemExit) as stopped,
        started([scripted("a")], tmp_path / "pictures", tmp_path) as (running, _),
    ):
        groups += [one._process.pid for one in running]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert stopped.value.code == 143
    assert [processes_of(group) for group in groups] == [[]]
    assert signal.getsignal(signal.SIGTERM) == before


def test_ending_twice_does_no_harm(tmp_path: Path) -> None:
    one = Running(scripted("a"), tmp_path / "pictures", tmp_path / "a.log")
    one.start()
    one.end()
    one.end()
    with pytest.raises(ProcessLookupError):
        os.killpg(one._process.pid, 0)
