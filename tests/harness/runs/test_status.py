"""status.json, metrics.jsonl and provenance.json: what is told while a run runs, stops, fails and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from datasets.files import read_json
from harness.runs.folder import RunFolder
from harness.runs.metrics_log import MetricsLog
from harness.runs.provenance import environment, git_state, write_provenance
from harness.runs.status import Status, reporting
from harness.training.signals import Interrupted, StopSignals


def status_of(folder: Path) -> Status:
    return Status(folder=RunFolder(folder), epochs=5, owner=True)


def state_of(folder: Path) -> tuple[str, str | None]:
    document = read_json(folder / "status.json")
    assert document["pid"] == os.getpid()
    return document["state"], document["error"]


def test_a_status_goes_from_running_to_done(tmp_path: Path) -> None:
    status = status_of(tmp_path)
    with reporting(status), StopSignals().caught():
        assert state_of(tmp_path) == ("running", None)
        status.epoch, status.mean_auroc = 2, 0.75
        status.write("running")
    document = read_json(tmp_path / "status.json")
    assert (document["state"], document["epoch"], document["epochs"], document["mean_auroc"]) == ("done", 2, 5, 0.75)


def test_a_failure_is_told_in_one_line_and_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first"), reporting(status_of(tmp_path)), StopSignals().caught():
        raise ValueError("first line\nsecond line")
    assert state_of(tmp_path) == ("failed", "ValueError: first line")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_is_an_interrupt_and_the_handler_is_put_back(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted, match=number.name) as caught,
        reporting(status_of(tmp_path)),
        StopSignals().caught(),
    ):
        os.kill(os.getpid(), number)
        signal.pause()
    assert caught.value.exit_status == 128 + number
    assert state_of(tmp_path)[0] == "interrupted"
    assert signal.getsignal(number) is before


def test_inside_a_step_the_first_signal_waits_and_the_second_does_not() -> None:
    signals = StopSignals()
    with signals.caught():
        with pytest.raises(Interrupted), signals.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.number == signal.SIGTERM
        signals = StopSignals()
    with signals.caught(), pytest.raises(Interrupted, match="SIGINT"), signals.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("unreachable")


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals().caught():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with reporting(Status(folder=folder, epochs=1, owner=False)), StopSignals().caught():
        journal = MetricsLog(folder, owner=False, first_epoch=0, tensorboard=True)
        journal.append({"epoch": 0})
        journal.close()
    assert list(tmp_path.iterdir()) == []


def test_lines_behind_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    journal = MetricsLog(folder, owner=True, first_epoch=0, tensorboard=False)
    for epoch in range(3):
        journal.append({"epoch": epoch, "attempt": 1})
    with folder.metrics_file.open("a") as file:
        file.write('{"epoch": 3, "torn')
    MetricsLog(folder, owner=True, first_epoch=2, tensorboard=False).append({"epoch": 2, "attempt": 2})
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert lines == [{"epoch": 0, "attempt": 1}, {"epoch": 1, "attempt": 1}, {"epoch": 2, "attempt": 2}]
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append({"epoch": 4, "loss": float("nan")})


def test_damaged_lines_are_counted_and_the_others_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    lines = (b'{"epoch": 0}', b"\xff\xfe\x00 no text", b'{"epoch": ', b"3", b'{"epoch": 1}', b'{"epoch": 2, \xc3')
    folder.metrics_file.write_bytes(b"\n".join(lines))
    assert list(folder.metrics()) == [{"epoch": 0}, {}, {}, {}, {"epoch": 1}]
    MetricsLog(folder, owner=True, first_epoch=2, tensorboard=False)
    assert f"{folder.metrics_file}: damaged; 3 of 5 lines cannot be read" in capsys.readouterr().err
    assert list(folder.metrics()) == [{"epoch": 0}, {"epoch": 1}]


def test_provenance_keeps_earlier_starts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    facts = {"run_id": "x", "devices": ["cpu"], "precision": "fp32"}
    write_provenance(folder, facts)
    write_provenance(folder, {**facts, "precision": "bf16"})
    document = read_json(folder.provenance_file)
    assert document["precision"] == "bf16"
    (earlier,) = document["earlier_starts"]
    assert earlier["precision"] == "fp32"
    assert earlier["started"] <= document["started"]
    assert set(environment()) <= set(earlier)


def test_a_checkout_tells_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    clean = git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"commit": clean["commit"], "dirty": True}
