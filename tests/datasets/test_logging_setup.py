"""The logging set-up: what reaches standard error, and how."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

CODE = """
import logging
from datasets.logging_setup import set_up_logging
set_up_logging()
set_up_logging()
logging.getLogger("datasets.convert").info("a note")
logging.getLogger("harness.runs").warning("look %s", "here")
logging.getLogger("other").info("not ours")
logging.getLogger("other").warning("still shown")
"""


def test_notes_and_warnings_go_to_standard_error_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["a note", "warning: look here", "warning: still shown"]


def test_of_several_processes_the_first_writes_notes_and_warnings() -> None:
    code = CODE + 'logging.getLogger("harness").error("failed")'
    environment = {**os.environ, "RANK": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["error: failed"]


def test_importing_it_loads_no_rich() -> None:
    code = "import sys, datasets.logging_setup; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_records_follow_a_replaced_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    from datasets.logging_setup import _PlainHandler

    handler = _PlainHandler()
    handler.emit(logging.LogRecord("datasets", logging.INFO, __file__, 1, "seen", None, None))
    assert capsys.readouterr().err == "seen\n"
