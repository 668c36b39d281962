"""A process that measures one loop and case when asked."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import ROOT, environment
from benchmarks.step.case import Case, Kind

LIMIT_S = 1800.0


class Process:
    """A loop's process, asked for one measurement at a time."""

    def __init__(self, kind: Kind, case: Case, pictures: Path, device: str, log: Path) -> None:
        self.kind, self._log = kind, log
        arguments = [sys.executable, "-m", "benchmarks.step.worker", kind, case.network, case.method]
        arguments += [str(pictures), device]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()  # it ends by itself, and its loader's workers with it
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def answer(self) -> Any:
        """What it says next.

        Raises:
            RuntimeError: when it ends or takes too long.
        """
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], LIMIT_S)
        line = output.readline() if ready else ""
        if not line:
            said = " / ".join(self._log.read_text(errors="replace").strip().splitlines()[-6:])
            raise RuntimeError(f"{self.kind} {'ended' if ready else 'did not answer'}: {said or 'it said nothing'}")
        return json.loads(line)

    def measure(self, what: str, steps: int) -> dict[str, float]:
        """One measurement of that many steps."""
        assert self._process.stdin is not None
        print(json.dumps({"what": what, "steps": steps}), file=self._process.stdin, flush=True)
        found: dict[str, float] = self.answer()
        return found
