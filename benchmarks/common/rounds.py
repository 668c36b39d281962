"""Measure contenders in interleaved rounds, each in a process of its own.

Between its rounds a contender's processes are stopped by signal, so that none of them fills its queues while another
is measured.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.common.contenders import ROOT, Contender, environment

START_S = 300.0
ROUND_S = 600.0
SHOWN_LINES = 5


class ContenderError(RuntimeError):
    """A contender ended, or gave no answer in time; the message is its last words."""


class Running:
    """The process of one contender, stopped except during ``start`` and ``round``."""

    def __init__(self, contender: Contender, pictures: Path, log: Path) -> None:
        self.contender = contender
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [*contender.command, str(pictures)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment(),
                text=True,
                start_new_session=True,
            )

    def start(self) -> None:
        """Wait until its first batch is there.

        Raises:
            ContenderError: if it ends or takes too long.
        """
        self._answer(START_S)
        self._signal(signal.SIGSTOP)

    def round(self, seconds: float | None) -> float:
        """Images per second over at least ``seconds``; over one whole pass where None.

        Raises:
            ContenderError: if it ends or takes too long.
        """
        self._signal(signal.SIGCONT)
        try:
            print(json.dumps({"seconds": seconds}), file=self._pipe(self._process.stdin), flush=True)
            images, elapsed = self._answer(ROUND_S + 10 * (seconds or 0.0))
        finally:
            self._signal(signal.SIGSTOP)
        return float(images) / float(elapsed)

    def end(self) -> None:
        """Kill it with all its workers."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            self._pipe(pipe).close()

    def _answer(self, limit_s: float) -> Any:
        output = self._pipe(self._process.stdout)
        ready, _, _ = select.select([output], [], [], limit_s)
        line = output.readline() if ready else ""
        if not line:
            words = self._log.read_text(errors="replace").strip().splitlines()[-SHOWN_LINES:]
            said = " / ".join(words) or "it said nothing"
            raise ContenderError(f"ended: {said}" if ready else f"no answer in {limit_s:.0f} s: {said}")
        return json.loads(line)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@contextmanager
def started(
    contenders: Sequence[Contender], pictures: Path, folder: Path
) -> Iterator[tuple[list[Running], dict[str, str]]]:
    """Start contenders one after another; yields those that run and, by name, why the others do not."""
    running: list[Running] = []
    failed: dict[str, str] = {}
    try:
        for contender in contenders:
            print(f"starting {contender.name}", file=sys.stderr, flush=True)
            one = Running(contender, pictures, folder / f"{contender.name}.log")
            running.append(one)
            try:
                one.start()
            except ContenderError as error:
                running.remove(one)
                one.end()
                failed[contender.name] = str(error)
                print(f"  {contender.name}: {error}", file=sys.stderr, flush=True)
        yield running, failed
    finally:
        for one in running:
            one.end()


def measure_rounds(running: Sequence[Running], *, rounds: int, seconds: float | None) -> dict[str, list[float]]:
    """Rates by name, one for each round; each round starts with another contender.

    Raises:
        ContenderError: if a contender ends in the middle.
    """
    rates: dict[str, list[float]] = {one.contender.name: [] for one in running}
    for number in range(rounds):
        first = number * len(running) // rounds
        for one in [*running[first:], *running[:first]]:
            rate = one.round(seconds)
            rates[one.contender.name].append(rate)
            print(
                f"round {number + 1}/{rounds}  {one.contender.name:<24}{rate:>12,.0f} images/s",
                file=sys.stderr,
                flush=True,
            )
    return rates
