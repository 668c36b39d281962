"""One run from start to end: a RunConfig and a RuntimeConfig come in; a run folder and its result go out.

A run is checked, set up, trained or taken up again, and tested; its files are written by the first process alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from datasets.files import write_json
from datasets.progress import Advance, progress
from harness.beta_search import resolve_weight
from harness.checkpoint import (
    Position,
    best_epoch,
    load_last,
    load_weights,
    save_best,
    save_last,
    weights_hash,
    whole_folder,
)
from harness.config import RunConfig
from harness.devices import device_names, effective_precision, make_accelerator
from harness.evaluate import predict_split, write_predictions
from harness.initialise import initialise
from harness.journal import Journal
from harness.metrics import score
from harness.networks import Network, build_network
from harness.preflight import check_batches, check_labels, finished_result, open_beton, warn_of_leaks, write_config
from harness.provenance import write_provenance
from harness.run_parts import Run, build_parts
from harness.runtime import RuntimeConfig
from harness.schedule import best_of
from harness.status import Status, reporting
from harness.train import Keep, Parts, fit


def train_run(config: RunConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    """Train, evaluate and write ``runtime.folder_of(config)``; a finished run is recognised, an unfinished goes on.

    Returns:
        What result.json holds.

    Raises:
        InputError: when beton, folder, teacher or initial weights do not fit the config.
        FloatingPointError: when training diverges; the checkpoint of the epoch before stays.
    """
    folder = runtime.folder_of(config)
    beton = open_beton(config, runtime)
    finished = finished_result(folder, config, beton)
    if finished is not None:
        print(f"{folder.path}: already done", file=sys.stderr)
        return finished
    check_labels(config, beton)
    check_batches(config, beton)
    warn_of_leaks(config)
    accelerator = make_accelerator(runtime)
    status = Status(folder=folder, epochs=config.schedule.epochs, owner=bool(accelerator.is_main_process))
    if status.owner:
        write_config(folder, config)
    with reporting(status):
        weight, beta = resolve_weight(config, runtime.folder_of)
        run = Run(
            config=config,
            runtime=runtime,
            folder=folder,
            beton=beton,
            accelerator=accelerator,
            weight=weight,
            beta=beta,
        )
        result = _train_and_test(run, status)
    accelerator.end_training()
    return result


def _train_and_test(run: Run, status: Status) -> dict[str, Any]:
    network = build_network(run.config.network, len(run.beton.labels))
    origin = "the last checkpoint"
    if whole_folder(run.folder.last_dir) is None:
        origin = initialise(
            network,
            run.config.init,
            folder_of=run.runtime.folder_of,
            imagenet_weights=run.runtime.imagenet_weights,
            xrv_weights=run.runtime.xrv_weights,
            seed=run.config.seed,
        )
    parts = build_parts(run, network)
    position = _resume(run, parts)
    devices = device_names(run.accelerator)
    if run.owner:
        write_provenance(run.folder, _facts(run, origin, devices))
    todo = (run.config.schedule.epochs - position.epoch) * len(parts.train_loader.indices)
    journal = Journal(run.folder, owner=run.owner, first_epoch=position.epoch, tensorboard=run.runtime.tensorboard)
    with _progress(run, todo) as advance:
        position = fit(parts, position, keeper(run, parts, journal, status), advance)
    journal.close()
    return _test(run, network, position)


def keeper(run: Run, parts: Parts, journal: Journal, status: Status) -> Keep:
    """What happens after each epoch: a line of metrics, the last checkpoint, the best one if it is, the status."""

    def keep(position: Position, record: dict[str, Any]) -> None:
        journal.append(record)
        if run.owner:
            optimizer = parts.optimizer.optimizer
            scaler = run.accelerator.scaler
            beside = parts.objective.module
            save_last(run.folder.last_dir, parts.network, optimizer, scaler, position, run.metadata, beside)
            _keep_best(run, position)
        status.epoch = position.epoch
        status.mean_auroc = position.history[-1].mean_auroc if position.history else None
        status.images_per_s = record["images_per_s"]
        status.write("running")

    return keep


def _keep_best(run: Run, position: Position) -> None:
    """Copy the last checkpoint's weights to the best ones, when its epoch is the best so far."""
    best = best_of(run.config.schedule, position.history)
    if best is not None and best.epoch == position.epoch - 1 and best_epoch(run.folder.best_dir) != best.epoch:
        save_best(run.folder.best_dir, run.folder.last_dir, best)


def _resume(run: Run, parts: Parts) -> Position:
    """The position of the last checkpoint, its content loaded; a new run's position when there is none."""
    optimizer, scaler = parts.optimizer.optimizer, run.accelerator.scaler
    found = load_last(run.folder.last_dir, parts.network, optimizer, scaler, parts.objective.module)
    if found is None:
        return Position()
    if run.owner:  # a process killed between the two checkpoints left the older best one
        _keep_best(run, found)
    return replace(found, restarts=found.restarts + 1)


def _test(run: Run, network: Network, position: Position) -> dict[str, Any]:
    """Score the best epoch's weights on the test split; write predictions and, last of all, result.json."""
    run.accelerator.wait_for_everyone()
    best = best_of(run.config.schedule, position.history)
    assert best is not None, "the last epoch is always validated"
    tensors, _ = load_weights(run.folder.best_dir)
    network.load_state_dict(tensors)
    predictions = predict_split(run.accelerator, network, run.beton, "test", run.runtime)
    scores = score(predictions.logits, predictions.targets, run.beton.labels)
    result = {
        "run_id": run.config.run_id,
        "name": run.config.name,
        "status": "done",
        "config_hash": run.config.hash,
        "content_hash": run.beton.sidecar.content_hash,
        "best_epoch": best.epoch,
        "epochs": position.epoch,
        "validation": {"mean_auroc": best.mean_auroc, "cross_entropy": best.loss},
        "test": scores.to_dict(),
        "attention_weight": run.weight,
        "beta": run.beta,
        "weights_hash": weights_hash(tensors),
        "world_size": run.accelerator.num_processes,
        "restarts": position.restarts,
        "train_images": len(run.beton.indices("train", run.config.data.subset)),
        "seconds": position.seconds,
        "images_per_s": position.images / position.train_seconds,
    }
    if run.owner:
        write_predictions(run.folder.predictions_file, run.beton, predictions, run.beton.labels)
        write_json(run.folder.result_file, result)
    run.accelerator.wait_for_everyone()
    return result


def _facts(run: Run, origin: str, devices: list[str]) -> dict[str, Any]:
    """What provenance.json says about the run itself."""
    return {
        "run_id": run.config.run_id,
        "config_hash": run.config.hash,
        "beton": str(run.beton.path),
        "content_hash": run.beton.sidecar.content_hash,
        "phantom": bool(run.beton.sidecar.settings.get("phantom", False)),
        "started_from": origin,
        "attention_weight": run.weight,
        "beta": run.beta,
        "runtime": run.runtime.to_dict(),
        "precision": effective_precision(run.accelerator),
        "devices": devices,
        "world_size": run.accelerator.num_processes,
    }


@contextmanager
def _progress(run: Run, todo: int) -> Iterator[Advance]:
    """Progress of the remaining training images on the first process; nothing on the others."""
    if not run.owner:
        yield lambda n=1, note="": None
        return
    with progress(run.config.name, todo) as advance:
        yield advance
