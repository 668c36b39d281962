"""Measure in processes of their own that answer a line of JSON for each line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import ROOT, environment
from benchmarks.common.pictures import Pictures

SHOWN_LINES = 6
EXCEPTION = re.compile(r"[\w.]+(Error|Exception|Exit|Interrupt): ")


class ContenderError(RuntimeError):
    """A process ended, or gave no answer in time; the message is its last words."""


class Process:
    """The process of one contender; what it prints beside its answers goes to ``log``."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment(),
                text=True,
                start_new_session=True,
            )

    def answer(self, limit_s: float) -> Any:
        """What it says next.

        Raises:
            ContenderError: if it ends or takes longer than ``limit_s``.
        """
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], limit_s)
        line = output.readline() if ready else ""
        if not line:
            said = last_words(self._log.read_text(errors="replace"))
            raise ContenderError(f"ended: {said}" if ready else f"no answer in {limit_s:.0f} s: {said}")
        return json.loads(line)

    def ask(self, question: Any, limit_s: float) -> Any:
        """The answer to one question; raises as ``answer`` does."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self.answer(limit_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self) -> None:
        """Kill it with all its workers."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def last_words(log: str) -> str:
    """The last exception that a log names, else its last lines."""
    lines = log.strip().splitlines()
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return exceptions[-1] if exceptions else " / ".join(lines[-SHOWN_LINES:]) or "it said nothing"


def answer_questions(pictures: Path, set_up: Callable[[Pictures], Callable[[Any], Any]]) -> None:
    """Answer ``ready`` once set up on the first cores, then each line of standard input, until there is no more.

    The workers share these cores with whatever else the contender runs, as they would beside a training loop. What
    libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    read = Pictures.read(pictures)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: read.workers])
    answer = set_up(read)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
