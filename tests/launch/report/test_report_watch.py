"""``cxr report --watch`` as a process: it writes when a run has changed, not otherwise, and ends on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from report_fixtures import result_document, student, write, write_predictions, write_run

from launch.report.follow import fingerprint

CURVE = [(0.5, 0.5), (0.6, 0.55)]


class Watcher:
    """A process and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, *, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while sum(text in line for line in self.lines) < times:
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code


@contextmanager
def watching(directory: Path) -> Iterator[Watcher]:
    arguments = [sys.executable, "-m", "launch.cli", "report", str(directory), "--watch", "--every", "0.2"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield Watcher(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_it_waits_writes_after_a_change_alone_and_ends_cleanly(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    page = runs / "report" / "index.html"
    with watching(runs) as watcher:
        watcher.wait_for("waiting: ")
        folder = write_run(runs, student(), None, curve=CURVE)
        write_run(runs, student(seed=1), 0.7, curve=CURVE)
        watcher.wait_for("1 of 2 runs finished")
        assert '<meta http-equiv="refresh" content="1.0">' in page.read_text()
        time.sleep(1.0)
        written = len(watcher.lines)
        before = page.stat().st_mtime_ns
        write(folder / "status.json", {"state": "running", "epoch": 2, "epochs": 3})
        time.sleep(1.0)
        assert len(watcher.lines) == written
        assert page.stat().st_mtime_ns == before
        write_predictions(folder, ["Edema", "Effusion"])
        write(folder / "result.json", result_document(student(), 0.8))
        watcher.wait_for("2 of 2 runs finished")
        assert watcher.stop() == 0
    assert watcher.lines[-1].startswith("stopped")
    text = page.read_text()
    assert "2 finished" in text
    assert "refresh" not in text.partition("<style>")[0]
    assert [path.name for path in runs.rglob("*.partial")] == []


def test_a_reader_always_finds_a_whole_page(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, student(seed=seed), 0.7, curve=CURVE)
    page = tmp_path / "report" / "index.html"
    with watching(tmp_path) as watcher:
        watcher.wait_for("runs finished")
        for turn in range(3):
            os.utime(tmp_path / student().run_id / "result.json", (turn, turn))
            while sum("runs finished" in line for line in watcher.lines) < turn + 2:
                text = page.read_text(encoding="utf-8")
                assert text.startswith("<!DOCTYPE html>")
                assert text.endswith("</html>")
                assert watcher.process.poll() is None
        assert watcher.stop(signal.SIGTERM) == 0


def test_a_missing_folder_is_one_line_and_status_2(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "launch.cli", "report", str(tmp_path / "absent"), "--watch"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_report_itself_and_heartbeats_are_no_change(tmp_path: Path) -> None:
    folder = write_run(tmp_path, student(), None, curve=CURVE)
    out = tmp_path / "report"
    out.mkdir()
    first = fingerprint(tmp_path, out)
    (out / "index.html").write_text("x")
    write(folder / "status.json", {"state": "running", "epoch": 3, "epochs": 9})
    (folder / "checkpoint").mkdir()
    assert fingerprint(tmp_path, out) == first
    (folder / "metrics.jsonl").write_text("")
    changed = fingerprint(tmp_path, out)
    assert changed != first
    (tmp_path / "new").mkdir()
    assert fingerprint(tmp_path, out) != changed
    assert fingerprint(tmp_path / "absent", out) == ()


def test_a_foreign_folder_is_refused_before_it_waits(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", student(), 0.7)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("a page of my own")
    arguments = ["report", str(tmp_path / "runs"), "--watch", "--out", str(tmp_path / "site")]
    command = [sys.executable, "-m", "launch.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "index.html: not of a cxr report" in done.stderr
