"""A conversion killed at any moment: the same command finishes it, and the result is that of an uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from decoded_here import DecodedHere
from small_dataset import read_dataset, session_members, three_files, wait_until, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.sidecar import sidecar_path
from datasets.beton.writer import journal_path
from datasets.convert import convert as convert_module
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions

NUM_KILLS = 20
SIZE = 704
"""Four pages fill a block, so that there is something to go on with after a few images."""


def in_a_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process, which leads a session of its own and has everything imported already."""
    child = os.fork()
    if child == 0:
        os.setsid()
        forkserver._forkserver.__init__()  # a process of its own has no fork server yet
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        try:
            work()
        finally:
            os._exit(0)
    return child


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), 60, side=200)


def whole(out: Path) -> bool:
    return sidecar_path(out).exists()


def num_blocks(out: Path) -> int:
    return journal_path(out).read_bytes().count(b"\n") - 1 if journal_path(out).exists() else 0


def test_killed_at_random_moments_it_is_finished_to_the_same_content(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, rng, going_on = read_dataset(root), np.random.default_rng(0), 0
    started = time.monotonic()
    expected = convert(*request, tmp_path / "whole.beton", ConvertOptions(size=SIZE, workers=2))
    duration_s = time.monotonic() - started
    for kill in range(NUM_KILLS):
        out = tmp_path / str(kill) / "nih.beton"
        child = in_a_child(lambda out=out: convert(*request, out, ConvertOptions(size=SIZE, workers=2)))
        if kill % 4 == 0:
            time.sleep(rng.uniform(0, duration_s))  # any moment: mostly one while the workers start
        else:
            blocks = int(rng.integers(0, 15))
            wait_until(lambda out=out, blocks=blocks: whole(out) or num_blocks(out) >= blocks)
            time.sleep(rng.uniform(0, 0.03))
        (os.killpg if kill % 2 else os.kill)(child, signal.SIGKILL)
        os.waitpid(child, 0)
        wait_until(lambda child=child: session_members(child) == [], timeout_s=60)
        if whole(out):
            assert Beton.open(out).sidecar == expected
        going_on += 0 < num_blocks(out) < 15
        with monkeypatch.context() as patch:
            patch.setattr(convert_module, "DecodePool", DecodedHere)
            assert convert(*request, out, ConvertOptions(size=SIZE)).content_hash == expected.content_hash
        assert three_files(out) == three_files(tmp_path / "whole.beton")
        assert len(list(out.parent.iterdir())) == 3
        shutil.rmtree(out.parent)
    assert going_on >= 5, "the kills came too early or too late to show anything"


STEPS = ("open", "write", "pwrite", "ftruncate", "fsync", "replace", "rename", "unlink", "mkdir")
"""Everything that changes a file or folder."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let the process be killed just before or after its ``step``-th change of a file."""
    count = 0

    def wrapped(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            here = count
            try:
                return call(*arguments, **options)
            finally:
                if here == step and after:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counting

    for name in STEPS:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_single_step_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    root = write_dataset(tmp_path / "nih", 10, side=40)
    request = read_dataset(root)
    monkeypatch.setattr(convert_module, "DecodePool", DecodedHere)
    convert(*request, tmp_path / "whole.beton", ConvertOptions(size=SIZE, workers=1))
    expected = three_files(tmp_path / "whole.beton")
    out, steps = tmp_path / "killed" / "nih.beton", 0
    died = True
    while died:
        steps += 1

        def work(step: int = steps) -> None:
            with monkeypatch.context() as patch:
                die_at(step, patch, after=after)
                convert(*request, out, ConvertOptions(size=SIZE, workers=1))

        _, status = os.waitpid(in_a_child(work), 0)
        died = os.WIFSIGNALED(status)
        if whole(out):
            assert three_files(out) == expected
        convert(*request, out, ConvertOptions(size=SIZE, workers=1))
        assert three_files(out) == expected
        assert len(list(out.parent.iterdir())) == 3
        shutil.rmtree(out.parent)
    assert steps > 15
