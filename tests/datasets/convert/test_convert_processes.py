from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_dataset import (
    command_environment,
    read_dataset,
    session_members,
    three_files,
    wait_until,
    write_dataset,
)

from datasets.beton.sidecar import sidecar_path
from datasets.beton.writer import journal_path, work_path
from datasets.convert.pool import DecodePool
from datasets.convert.protocol import DecodeSpec, Page, Reject
from datasets.errors import InputError
from datasets.images.decode import decode_gray
from datasets.images.resize import fit


@pytest.fixture(scope="module")
def large_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("large"), 144, side=600)


def start_conversion(root: Path, out: Path) -> subprocess.Popen[str]:
    """``cxr convert`` in a session of its own; four images fill a block."""
    command = [sys.executable, "-m", "launch.cli", "convert", "chestxray14", "--root", str(root), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--size", "704", "--workers", "2"],
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )


def lines_in_journal(out: Path) -> int:
    return journal_path(out).read_bytes().count(b"\n") if journal_path(out).exists() else 0


def wait_for_lines(process: subprocess.Popen[str], out: Path, num_lines: int) -> None:
    def enough() -> bool:
        assert process.poll() is None, process.communicate()
        return lines_in_journal(out) >= num_lines

    wait_until(enough)


def test_killed_and_interrupted_conversions_go_on_to_the_same_bytes(large_root: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "nih.beton", tmp_path / "whole" / "nih.beton"
    process = start_conversion(large_root, out)
    wait_for_lines(process, out, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: session_members(process.pid) == [], timeout_s=10)
    assert not out.exists() and not sidecar_path(out).exists()

    already = lines_in_journal(out)
    process = start_conversion(large_root, out)
    wait_for_lines(process, out, already + 1)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "resuming after" in errors
    wait_until(lambda: session_members(process.pid) == [], timeout_s=10)
    assert not out.exists()

    process = start_conversion(large_root, out)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "resuming after" in errors
    assert "144 images of 72 patients" in output
    assert not work_path(out).exists() and not journal_path(out).exists()
    process = start_conversion(large_root, whole)
    process.communicate(timeout=120)
    assert three_files(out) == three_files(whole)


def test_a_crashing_decoder_costs_one_image(large_root: Path) -> None:
    records, _, _ = read_dataset(large_root)
    paths = list(records.frame["path"])[:20]
    with DecodePool(large_root, DecodeSpec(size=32), workers=1) as pool:
        outcomes = pool.decode(paths)
        found = [next(outcomes)]
        started = pool.pids
        os.kill(pool.pids[0], signal.SIGSEGV)
        found += list(outcomes)
        started += pool.pids
    refused = [outcome for outcome in found if isinstance(outcome, Reject)]
    assert refused == [Reject("the decoder crashed on it (SIGSEGV)")]
    for path, outcome in zip(paths, found, strict=True):
        if isinstance(outcome, Page):
            assert outcome.stored == fit(decode_gray(large_root / path), 32).tobytes()
    assert not any(alive(pid) for pid in started)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_ends_the_conversion_with_one_line(large_root: Path) -> None:
    paths = list(read_dataset(large_root)[0].frame["path"])
    with DecodePool(large_root, DecodeSpec(size=32), workers=1) as pool:
        outcomes = pool.decode(paths)
        next(outcomes)
        os.kill(pool.pids[0], signal.SIGKILL)
        with pytest.raises(InputError, match=r"killed at .*png.*fewer --workers"):
            list(outcomes)


def test_what_is_no_fault_of_an_image_ends_the_conversion_with_its_own_words(large_root: Path) -> None:
    paths = list(read_dataset(large_root)[0].frame["path"])
    spec = DecodeSpec(size=32, resize="nonsense")  # type: ignore[arg-type]
    with (
        DecodePool(large_root, spec, workers=1) as pool,
        pytest.raises(
            RuntimeError, match=r"decoding failed at .*png, not for its content: ValueError: resize"
        ) as told,
    ):
        list(pool.decode(paths))
    assert "Traceback" in told.value.__notes__[0]


def test_a_page_of_one_gray_value_is_named_though_its_image_is_not(tmp_path: Path) -> None:
    pixels = np.zeros((64, 400), dtype=np.uint8)
    pixels[:, :40] = 200  # the crop leaves it out
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with DecodePool(tmp_path, DecodeSpec(size=32), workers=1) as pool:
        page = next(pool.decode(["x.png"]))
    assert isinstance(page, Page) and page.warning == "its page is of one gray value, 0, but its pixels are not"


def test_the_command_refuses_what_makes_no_sense(large_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launch.cli", "convert", "chestxray14", "--root", str(large_root), "--out"]
    result = subprocess.run([*command, str(tmp_path / "x.bin")], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"error: --out {tmp_path / 'x.bin'}: the name must end in .beton\n"
