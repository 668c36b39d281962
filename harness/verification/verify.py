"""Verify a finished run: compute its files again, compare, and leave a certificate in its folder."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets.beton.mixed import open_beton
from datasets.errors import InputError
from datasets.files import write_json
from datasets.sources.registry import beton_files
from harness.config import RunConfig
from harness.devices.accelerator import Accelerator, make_accelerator
from harness.devices.arithmetic import arithmetic
from harness.runs.folder import RunFolder, folders_by_id
from harness.runs.runtime import RuntimeConfig
from harness.verification.check import Check, certificate, guarded, not_checked
from harness.verification.predictions import check_predictions
from harness.verification.recorded import RecordedRun, check_files
from harness.verification.retraining import (
    STEPS,
    compare_retraining,
    obstacle,
    recorded_steps,
    retraining_config,
    retraining_options,
)

logger = logging.getLogger(__name__)
Retrain = Callable[[RunConfig, RuntimeConfig], None]
"""Trains a config under a runtime that says where, until its ``max_steps``."""


def verify_run(folder: RunFolder, runtime: RuntimeConfig, *, steps: int, retrain: Retrain) -> dict[str, Any]:
    """Verify a finished run and write certificate.json; nothing else in its folder is changed.

    Args:
        folder: the run's.
        runtime: says where beton, teachers and initial weights lie and on which device to compute; the beton that
            the run recorded is taken where ``runtime`` has none.
        steps: optimiser steps to train again; 0 for none.
        retrain: trains them.

    Returns:
        The certificate.

    Raises:
        InputError: when the folder holds no finished run.
    """
    run = open_recorded(folder, runtime)
    recorded = run.provenance.get("arithmetic") or {}
    tier = (run.provenance.get("runtime") or {}).get("tier", "auto")
    runtime = replace(runtime, num_threads=recorded.get("threads") or runtime.num_threads, tier=tier)
    if run.beton is not None:
        runtime = replace(runtime, beton=run.beton.path)
    accelerator = make_accelerator(runtime)
    checks = []
    for check in _checks(run, accelerator, runtime, steps, retrain):
        logger.info(f"{check.name}: {check.outcome}")
        checks.append(check)
    found = certificate(run.result["run_id"], checks, arithmetic=arithmetic(accelerator), steps=steps)
    write_json(folder.certificate_file, found)
    return found


def open_recorded(folder: RunFolder, runtime: RuntimeConfig) -> RecordedRun:
    """Read a finished run's config, result and provenance, and open its beton if it is there.

    Raises:
        InputError: when the run is not finished, or one of these files cannot be read.
    """
    result = folder.finished_result()
    config, provenance = folder.config(), folder.provenance()
    path = runtime.beton_for(config.data.dataset)
    if not all(file.exists() for file in beton_files(path)) and runtime.beton is None:
        path = Path(str(provenance.get("beton", path)))
    beton = open_beton(path) if all(file.exists() for file in beton_files(path)) else None
    return RecordedRun(folder=folder, config=config, result=result, provenance=provenance, beton=beton)


def _checks(
    run: RecordedRun, accelerator: Accelerator, runtime: RuntimeConfig, steps: int, retrain: Retrain
) -> Iterator[Check]:
    """All checks, quick ones first."""
    yield from check_files(run)
    for split in run.folder.predictions():
        yield guarded(f"{split} predictions", partial(check_predictions, run, split, accelerator, runtime))
    if steps == 0:
        yield not_checked(STEPS, "not asked for", "give --steps N")
        return
    yield from _check_training(run, accelerator, runtime, steps, retrain)


def _check_training(
    run: RecordedRun, accelerator: Accelerator, runtime: RuntimeConfig, steps: int, retrain: Retrain
) -> Iterator[Check]:
    """Train the first ``steps`` again in a folder that is removed at the end, where that can give the run's bits."""
    problem = obstacle(run, steps, arithmetic(accelerator))
    if problem is not None:
        yield problem
        return
    with tempfile.TemporaryDirectory(prefix="cxr-verify-") as scratch:
        again = RunFolder(Path(scratch, "run"))
        config, options = retraining_config(run), retraining_options(run, steps)
        threads = recorded_steps(run, steps)[0].get("threads")
        runtime = replace(
            runtime,
            **options,
            num_threads=threads or runtime.num_threads,
            runs_dir=link_runs(Path(scratch, "runs"), runtime.runs_dir, run),
            run_folders={config.run_id: again.path},
        )
        try:
            retrain(config, runtime)
        except InputError as error:
            yield not_checked(STEPS, f"it cannot be trained again: {error}", "see --data-dir and --runs-dir")
            return
        except FloatingPointError as error:
            yield Check(name=STEPS, outcome="failed", what=str(error))
            return
        yield from compare_retraining(run, steps, again)


def link_runs(links: Path, runs_dir: Path, run: RecordedRun) -> Path:
    """Link the runs in ``runs_dir``, and those that the run recorded by path, into the new folder ``links`` by id.

    Teachers and initial weights are then found there, whatever their folders' names.
    """
    links.mkdir()
    for run_id, folder in folders_by_id(runs_dir, run.provenance).items():
        (links / Path(run_id).name).symlink_to(folder.path.resolve())
    return links
