"""Open a trained network and its preprocessing from a run folder or a folder that ``cxr export`` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.beton.mixed import open_beton
from datasets.beton.sidecar import read_sidecar, sidecar_path
from datasets.convert.preprocess import Preprocessing
from datasets.errors import InputError
from datasets.files import parse_as, read_json
from datasets.sources.registry import beton_files
from harness.config import RunConfig
from harness.evaluation.calibration import Calibration
from harness.networks import Network
from harness.runs.checkpoint import WEIGHTS_NAME, Tensors, read_weights, weights_hash
from harness.runs.folder import RunFolder
from harness.weights.weight_files import SourceWeights, check_tensors, read_best, read_labels

PREPROCESSING_NAME = "preprocessing.json"
"""Its presence tells an exported folder from a run folder."""

CALIBRATE = "'cxr evaluate RUN --write' makes that of a run, and 'cxr export' puts it beside an exported model"


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained network on the CPU, in eval mode, with all that is needed to use it."""

    path: Path
    config: RunConfig
    network: Network
    tensors: Tensors
    metadata: dict[str, str]
    """Of the file that holds them."""
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    precision: str
    """Arithmetic that the run computed in: fp32, tf32, bf16 or fp16."""
    beton: Path | None
    """The run's beton as far as it was found: its sidecar is there, the file itself perhaps."""


def open_model(path: Path, *, beton: Path | None = None) -> SavedModel:
    """Read the best weights of a run, or an exported model.

    Args:
        path: a run folder or an exported folder.
        beton: the run's beton, if it lies elsewhere now than when the run was trained.

    Raises:
        InputError: when there are no weights, or it cannot be told how the run's images were made.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a run folder, or one that 'cxr export' wrote")
    config = RunFolder(path).config()
    if (path / PREPROCESSING_NAME).exists():
        tensors, metadata = read_weights(path / WEIGHTS_NAME, "; export the run again")
        values = read_json(path / PREPROCESSING_NAME)
        settings = values.get("settings") if isinstance(values, dict) else None
        preprocessing = parse_as(Preprocessing, settings, where=f"{path / PREPROCESSING_NAME}: settings")
        precision, found = str(metadata.get("precision", "fp32")), None
    else:
        tensors, metadata = read_best(config, RunFolder(path))
        preprocessing, found = _preprocessing_of_run(path, beton)
        precision = str(RunFolder(path).provenance().get("precision", "fp32"))
    check_tensors(tensors, config.network, path, expected=f"the weights of a {config.network.name}")
    labels = read_labels(metadata.get("labels"), len(tensors["classifier.weight"]), path)
    return SavedModel(
        path=path,
        config=config,
        network=SourceWeights(config.network, tensors, str(path), labels).build().eval(),
        tensors=tensors,
        metadata=metadata,
        labels=labels,
        preprocessing=preprocessing,
        precision=precision,
        beton=found,
    )


def open_calibration(model: SavedModel) -> Calibration | None:
    """The calibration beside a model; None where there is none.

    Raises:
        InputError: when it cannot be read, or was fitted to other weights.
    """
    path = RunFolder(model.path).calibration_file
    found = Calibration.read(path)
    if found is not None and (tuple(found.labels), found.weights_hash) != (model.labels, weights_hash(model.tensors)):
        raise InputError(f"{path}: fitted to other weights than those here; {CALIBRATE}")
    return found


def _preprocessing_of_run(path: Path, beton: Path | None) -> tuple[Preprocessing, Path | None]:
    """How the run's images were made: as the run recorded it, else as the sidecar of its beton says."""
    provenance = RunFolder(path).provenance()
    wanted = provenance.get("content_hash")
    recorded = provenance.get("beton")
    # As recorded, seen from here or from a folder above the run.
    above = (Path(), *path.resolve().parents) if isinstance(recorded, str) else ()
    tried = [beton] if beton is not None else [folder / str(recorded) for folder in above]
    for place in tried:
        files = beton_files(place)
        if not all(sidecar_path(file).is_file() for file in files):
            continue
        sidecar = read_sidecar(place) if files == (place,) else open_beton(place).sidecar
        if sidecar.content_hash == wanted:
            return Preprocessing.of(sidecar), place
        if beton is not None:
            raise InputError(
                f"{beton}: holds other images ({sidecar.content_hash[:15]}) than {path} was trained on "
                f"({str(wanted)[:15]}); give the run's own beton"
            )
    settings = provenance.get("preprocessing")
    if settings is not None:
        return parse_as(Preprocessing, settings, where=f"{RunFolder(path).provenance_file}: preprocessing"), None
    missing = beton or recorded or "its beton"
    raise InputError(
        f"{path}: how its images were made is told by the sidecar of its beton, {missing}.json, which was not found; "
        "give the beton with --beton FILE"
    )
