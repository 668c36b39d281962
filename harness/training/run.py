"""Train, evaluate and record one run from start to end.

A run is checked, set up, trained or resumed, and tested; the first process alone writes its files.
"""

from __future__ import annotations

import logging
from contextlib import closing, nullcontext
from dataclasses import asdict
from typing import Any

from datasets.beton.mixed import MixedBeton
from datasets.beton.reader import Beton
from datasets.convert.preprocess import Preprocessing
from datasets.errors import InputError
from datasets.files import disk_full_as_input_error, write_json
from datasets.progress import progress
from datasets.sources.labels import IGNORED
from harness.config import RunConfig
from harness.config.schedule import best_of
from harness.devices.accelerator import Accelerator, device_names, leaving_at_failure, make_accelerator
from harness.devices.arithmetic import arithmetic
from harness.devices.energy import EnergyMeter, energy_counter
from harness.devices.precision import effective_precision, precision_reason
from harness.evaluation.complete import write_calibration
from harness.evaluation.evaluate import predict_split
from harness.evaluation.inference import Predictions
from harness.evaluation.metrics import score
from harness.evaluation.predictions_file import write_predictions
from harness.networks import Network, build_network
from harness.runs.checkpoint import Learner, best_epoch, load_weights, weights_hash
from harness.runs.checkpoint_folder import whole_folder
from harness.runs.lock import sole_writer_of_all
from harness.runs.metrics_log import MetricsLog
from harness.runs.provenance import write_provenance
from harness.runs.runtime import Precision, RuntimeConfig
from harness.runs.status import Status, reporting
from harness.runs.step_hashes import StepHashes
from harness.runs.train_state import TrainState
from harness.training.build import Run, build_components, resolve_weight
from harness.training.guards import out_of_memory_as_memory_error
from harness.training.loop import TrainingCallbacks, TrainingComponents, fit
from harness.training.monitor import ProgressMonitor, step_trace
from harness.training.preflight import CheckedRun, finished_result, preflight, write_config
from harness.training.recorder import CheckpointRecorder, restore
from harness.training.signals import StopControl, StopSignals
from harness.training.sync_batch_norm import synchronised
from harness.weights.initialise import initialise

logger = logging.getLogger(__name__)


def train_run(config: RunConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    """Train, evaluate and write a run into ``runtime.folder_of(config)``; an unfinished one is resumed.

    Returns:
        The content of result.json; of a finished run, without any computation.

    Raises:
        InputError: when beton, folder, teacher or initial weights do not fit the config.
        FloatingPointError: when training diverges; the last good checkpoint stays.
        MemoryError: when the batch does not fit into memory.
        Interrupted: when a signal ended it; the same call resumes at that step.
        StepsDone: after ``runtime.max_steps``.
    """
    checked, finished = preflight(config, runtime)
    folder = checked.folder
    if finished is not None:
        logger.info(f"{folder.path}: already done")
        return finished
    before = checked.precision_before  # read by every process before the first one can write anything
    accelerator = make_accelerator(runtime, before)
    with leaving_at_failure(accelerator), sole_writer_of_all(folder.path, accelerator):
        # Another process may have ended the run since.
        result = finished_result(folder, config, checked.beton) or _record(checked, accelerator, before)
    accelerator.end_training()
    return result


def _record(checked: CheckedRun, accelerator: Accelerator, before: Precision | None) -> dict[str, Any]:
    config, runtime, folder = checked.config, checked.runtime, checked.folder
    status = Status(folder=folder, epochs=config.schedule.last_epoch, owner=bool(accelerator.is_main_process))
    signals = StopSignals()
    meter = EnergyMeter(folder, accelerator.process_index, energy_counter(accelerator.device))
    with (
        disk_full_as_input_error(folder.path, "what was written before is kept"),
        reporting(status),
        signals.caught(),
        meter,
    ):
        if status.owner:
            write_config(folder, config)
        weight, beta = resolve_weight(config, runtime.folder_of)
        run = Run(**vars(checked), accelerator=accelerator, weight=weight, beta=beta)
        precision = effective_precision(accelerator)
        devices = device_names(accelerator)
        if run.owner:
            why = precision_reason(runtime.precision, precision, before)
            logger.info(f"training on {'; '.join(devices)} in {precision} ({why})")
        with out_of_memory_as_memory_error(
            batch_size=config.schedule.micro_batch,
            num_processes=accelerator.num_processes,
            image_size=config.data.image_size,
            precision=precision,
        ):
            return _train_and_test(run, devices, status, signals, meter)


def _train_and_test(
    run: Run, devices: list[str], status: Status, signals: StopSignals, meter: EnergyMeter
) -> dict[str, Any]:
    network = build_network(run.config.network, len(run.beton.labels))
    source, origin = run.source, "the last checkpoint"
    if whole_folder(run.folder.last_dir) is None and source is not None:
        origin = f"the checkpoint of {source.config.run_id}"
    elif whole_folder(run.folder.last_dir) is None:
        origin = initialise(network, run.config.init, run.runtime, seed=run.config.seed)
    if run.config.network.sync_bn:
        network = synchronised(network, run.accelerator.num_processes)
    components = build_components(run, network)
    learner = Learner(
        network=network,
        optimizer=components.optimizer.optimizer,
        scaler=run.accelerator.scaler,
        objective_module=components.objective.module,
        averaged=components.averaged,
    )
    state = restore(run, learner)
    if run.owner:
        write_provenance(run.folder, _provenance(run, state, origin, devices))
    metrics = MetricsLog(
        run.folder,
        owner=run.owner,
        first_epoch=state.epoch,
        tensorboard=run.runtime.tensorboard,
        trackers=run.runtime.trackers,
        run_id=run.config.run_id,
    )
    background = records_in_background(run.accelerator)
    recorder = CheckpointRecorder(run=run, learner=learner, metrics=metrics, status=status, background=background)
    with closing(metrics), recorder:
        state = _train(run, components, state, recorder, signals)
    return _test(run, network, state, meter)


def records_in_background(accelerator: Accelerator) -> bool:
    """Whether epochs are scored and written while training goes on: beside a GPU, whose steps leave cores idle."""
    return bool(accelerator.device.type == "cuda")


def _train(
    run: Run, components: TrainingComponents, state: TrainState, recorder: CheckpointRecorder, signals: StopSignals
) -> TrainState:
    todo = (run.config.schedule.last_epoch - state.epoch) * len(components.train_loader.indices)
    todo -= state.partial.images if state.partial is not None else 0
    if run.runtime.max_steps is not None:
        left = max(0, run.runtime.max_steps - state.steps_begun)
        todo = min(todo, left * run.config.schedule.batch_size)
    control = StopControl(
        signals,
        checkpoint_minutes=run.runtime.checkpoint_minutes,
        num_processes=run.accelerator.num_processes,
        owner=run.owner,
    )
    hashes = StepHashes(
        run.folder,
        components.network,
        arithmetic(run.accelerator),
        done=state.steps_begun,
        owner=run.owner,
        max_steps=run.runtime.max_steps,
    )
    trace = run.folder.trace_file if run.runtime.profile and run.owner else None
    shown = progress(run.config.name, todo) if run.owner else nullcontext(lambda n=1, note="": None)
    with shown as advance, step_trace(trace) as traced:

        def step_done() -> None:
            traced()
            hashes()

        callbacks = TrainingCallbacks(
            epoch_done=recorder.epoch_done,
            save=recorder.save,
            control=control,
            watch=ProgressMonitor(advance=advance, images=todo),
            step_done=step_done,
        )
        return fit(components, state, callbacks)


def _test(run: Run, network: Network, state: TrainState, meter: EnergyMeter) -> dict[str, Any]:
    """Score the best epoch's weights on the test split; write predictions, calibration and, last, result.json."""
    run.accelerator.wait_for_everyone()
    best = best_of(run.config.schedule, state.history)
    assert best is not None, "the last epoch is always validated"
    if best_epoch(run.folder.best_dir) != best.epoch:
        raise InputError(
            f"{run.folder.best_dir}: holds epoch {best_epoch(run.folder.best_dir)}, but the best one is epoch "
            f"{best.epoch}; remove {run.folder.best_dir.parent} to start the run anew"
        )
    tensors, _ = load_weights(run.folder.best_dir)
    network.load_state_dict(tensors)
    test = predict_split(run.accelerator, network, run.beton, "test", run.runtime)
    scores = score(test.logits, test.targets, run.beton.labels)
    validation = predict_split(run.accelerator, network, run.beton, "validation", run.runtime)
    meter.record()
    run.accelerator.wait_for_everyone()
    kwh = run.folder.energy_kwh()
    result = {
        "run_id": run.config.run_id,
        "name": run.config.name,
        "status": "done",
        "config_hash": run.config.hash,
        "content_hash": run.beton.sidecar.content_hash,
        "best_epoch": best.epoch,
        "epochs": state.epoch,
        "validation": {"mean_auroc": best.mean_auroc, "cross_entropy": best.loss},
        "test": scores.to_dict(),
        **_by_dataset(run.beton, test),
        "attention_weight": run.weight,
        "beta": run.beta,
        "weights_hash": weights_hash(tensors),
        "world_size": run.accelerator.num_processes,
        "restarts": state.restarts,
        "skipped_steps": state.skipped,
        "train_images": len(run.beton.indices("train", run.config.data.subset)),
        "seconds": state.seconds,
        "images_per_s": state.images / state.train_seconds,
        **({} if kwh is None else {"energy_kwh": kwh}),
    }
    if run.owner:
        write_predictions(run.folder.predictions_file, run.beton, test)
        write_predictions(run.folder.validation_file, run.beton, validation)
        write_calibration(run.folder, content_hash=result["content_hash"], weights_hash=result["weights_hash"])
        write_json(run.folder.result_file, result)
    run.accelerator.wait_for_everyone()
    return result


def _by_dataset(beton: Beton, predictions: Predictions) -> dict[str, Any]:
    """Test scores of each of several datasets that are read as one, on its own images."""
    if not isinstance(beton, MixedBeton):
        return {}
    numbers = beton.places[0][predictions.indices]
    return {
        "test_by_dataset": {
            part.sidecar.dataset: score(predictions.logits[rows], predictions.targets[rows], beton.labels).to_dict()
            for number, part in enumerate(beton.parts)
            if (predictions.targets[rows := numbers == number] != IGNORED).any()
        }
    }


def _provenance(run: Run, state: TrainState, origin: str, devices: list[str]) -> dict[str, Any]:
    """Return the run's own entries of provenance.json."""
    precision = effective_precision(run.accelerator)
    before = run.folder if state.restarts or run.source is None else run.source.folder
    recorded = before.provenance() if state.restarts or run.source is not None else {}
    precisions = recorded.get("precisions") or [recorded.get("precision", precision)]
    betons = run.beton.parts if isinstance(run.beton, MixedBeton) else ()
    parts = {beton.sidecar.dataset: beton.sidecar.content_hash for beton in betons}
    return {
        "run_id": run.config.run_id,
        "config_hash": run.config.hash,
        "beton": str(run.beton.path),
        "content_hash": run.beton.sidecar.content_hash,
        **({"parts": parts} if parts else {}),
        "dataset_title": run.beton.sidecar.settings.get("title"),
        "preprocessing": asdict(Preprocessing.of(run.beton.sidecar)),
        "phantom": bool(run.beton.sidecar.settings.get("phantom", False)),
        "started_from": origin,
        "attention_weight": run.weight,
        "beta": run.beta,
        "runtime": run.runtime.to_dict(),
        "precision": precision,
        "precisions": precisions if precisions[-1] == precision else [*precisions, precision],
        "devices": devices,
        "arithmetic": arithmetic(run.accelerator),
        "world_size": run.accelerator.num_processes,
        "processes": [{"from_step": step, "processes": count} for step, count in state.processes],
    }
