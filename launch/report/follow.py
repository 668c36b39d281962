"""Write the report of a folder again whenever a run has changed, until Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from datasets.errors import InputError
from datasets.files import write_text
from launch.executors.signals import handled_signals
from launch.report.build import Built, build_report, check_place
from launch.report.options import Options
from launch.report.read.collect import run_folders
from launch.report.write.documents import without_refresh

logger = logging.getLogger(__name__)
WATCHED = ("config.json", "metrics.jsonl", "predictions.parquet", "provenance.json", "result.json")
"""Files of a run folder whose change makes a new report; status.json changes too often and tells nothing more."""
Fingerprint = tuple[tuple[str, str, int, int], ...]


def fingerprint(directory: Path, out: Path) -> Fingerprint:
    """Folder, name, size and time of change of every file that a report rests on; files that vanish are left out."""
    found = []
    with suppress(OSError):  # the folder of run folders may vanish too
        for folder in run_folders(directory, out):
            found.append((folder.name, "", 0, 0))  # being there alone: a folder changes with every checkpoint
            for name in WATCHED:
                with suppress(OSError):
                    stat = (folder / name).stat()
                    found.append((folder.name, name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def follow(directory: Path, out: Path, options: Options, *, every_s: float) -> None:
    """Write the report now and after every change; on Ctrl-C or SIGTERM end between two writes, on a second at once.

    While it is followed, the page asks browsers to load it again. What cannot be reported on yet is said once and
    waited for.

    Raises:
        InputError: when there is no such folder, or ``out`` cannot be the report's.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the folder that holds the run folders")
    check_place(out)
    last: Fingerprint | None = None
    built: Built | None = None
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with handled_signals((signal.SIGINT, signal.SIGTERM), note):
        while not stop.is_set():
            found = fingerprint(directory, out)
            if found != last or (built is not None and built.data.waiting):
                last = found
                built = _write(directory, out, options, refresh_s=max(1.0, every_s)) or built
            stop.wait(every_s)
    if built is not None:
        page = out / "index.html"
        write_text(page, without_refresh(page.read_text(encoding="utf-8")))
    logger.info("stopped; the report is as of its last line above")


def _write(directory: Path, out: Path, options: Options, refresh_s: float) -> Built | None:
    """Write the report and say so in one line; None when there is nothing to report on."""
    try:
        built = build_report(directory, out, options, refresh_s=refresh_s)
    except InputError as error:
        logger.info("%s waiting: %s", time.strftime("%H:%M:%S"), error)
        return None
    finished = f"{built.data.num_done} of {len(built.data.collection.runs)} runs finished"
    print(f"{time.strftime('%H:%M:%S')} {built.paths[0]}: {finished}", flush=True)
    return built
