"""Read a run's config, and its runtime settings, from a TOML or JSON file or a run folder.

A run named by its folder (initial weights, teacher) is replaced by that run's whole config, so that a run's identity
follows from configs alone; where the folder lies is kept among the runtime overrides. So is the path of a file of
torchxrayvision weights, which the hash of its tensors replaces.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from datasets.errors import InputError
from datasets.files import read_json, read_toml
from harness.config import SCHEDULE_PRESETS, SCHEMA_VERSION, RunConfig, Schedule, from_dict, to_dict
from harness.config.parse import explain_value, validate_strictly
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig

RUNTIME_KEYS = tuple(field.name for field in dataclasses.fields(RuntimeConfig) if field.name != "run_folders")


def load_config(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """Read a run's config and the RuntimeConfig fields that the file sets.

    Args:
        path: ``.toml``; or ``.json`` that holds a plain config or a run folder's config.json; or a run folder.

    Returns:
        The config, and values for RuntimeConfig: what the file sets, where runs named by path lie, and, for a run
        folder's own config, that folder. Relative paths stay relative to the current directory.

    Raises:
        InputError: for an unreadable file, an unknown key or a value out of range.
    """
    if path.is_dir():
        path = RunFolder(path).config_file
    values = read_values(path)
    if "run_id" in values and "config" in values:
        own = _own_config(path, values)
        return own, _place_of(own, path)
    values = dict(values)
    runtime = _runtime_overrides(path, values.pop("runtime", {}))
    folders: dict[str, Path] = {}
    if "schedule" in values:
        values["schedule"] = _with_preset(path, values["schedule"])
    files = list(runtime.get("xrv_weights", ()))
    config = from_dict(_resolved(values, path, folders, files), where=str(path))
    places = {"run_folders": folders, "xrv_weights": tuple(dict.fromkeys(files))}
    return config, {**runtime, **{key: found for key, found in places.items() if found}}


def read_values(path: Path) -> dict[str, Any]:
    """Read the plain values of a config file."""
    if path.suffix == ".json":
        values = read_json(path, unique_keys=True)
    elif path.suffix == ".toml":
        values = read_toml(path)
    else:
        raise InputError(f"{path}: a config is a .toml or .json file, or a run folder")
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a table of keys, found {type(values).__name__}")
    return values


def _own_config(path: Path, document: dict[str, Any]) -> RunConfig:
    """The config inside a run folder's config.json; its recorded identity must be the one it has today."""
    missing = [key for key in ("schema", "run_id", "config") if key not in document]
    if missing:
        raise InputError(f"{path}: not a run's config.json: the key {missing[0]!r} is missing")
    if document.get("schema") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: written under config schema {document.get('schema')!r}, this version has {SCHEMA_VERSION}; "
            f"train the run anew from its TOML"
        )
    config = from_dict(document["config"], where=str(path))
    if config.run_id != document["run_id"]:
        raise InputError(
            f"{path}: says run_id {document['run_id']} but its config is {config.run_id}; the file was edited: "
            f"give an edited config as a plain TOML or JSON config instead"
        )
    return config


def _place_of(config: RunConfig, path: Path) -> dict[str, Any]:
    """Overrides under which a run whose config.json is ``path`` lies where it is, and its teachers beside it."""
    if path.parent.name == config.run_id:
        return {"runs_dir": path.parent.parent}
    return {"run_folders": {config.run_id: path.parent}}


def _runtime_overrides(path: Path, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{path}: runtime: expected a table of keys")
    for key in values:
        if key not in RUNTIME_KEYS:
            raise InputError(f"{path}: runtime.{key}: unknown key; known keys: {', '.join(RUNTIME_KEYS)}")
    try:
        checked = validate_strictly(TypeAdapter(RuntimeConfig), values)
    except ValidationError as error:
        first = error.errors()[0]  # without a place where a check of the whole table names its key itself
        place = ".".join(["runtime", *map(str, first["loc"])])
        raise InputError(f"{path}: {place}: {explain_value(first)}") from None
    return {key: getattr(checked, key) for key in values}


def _with_preset(path: Path, schedule: Any) -> Any:
    """A schedule table with its preset's values written out below its own keys."""
    if not isinstance(schedule, dict) or "preset" not in schedule:
        return schedule
    own = {key: value for key, value in schedule.items() if key != "preset"}
    preset = schedule["preset"]
    if not isinstance(preset, str) or preset not in SCHEDULE_PRESETS:
        raise InputError(f"{path}: schedule.preset: {preset!r} is unknown; known: {', '.join(SCHEDULE_PRESETS)}")
    base: Schedule = SCHEDULE_PRESETS[preset]()
    return {**to_dict(base), **own}


def _resolved(value: Any, path: Path, folders: dict[str, Path], files: list[Path]) -> Any:
    """``value`` with what it names by path replaced; the paths are noted in ``folders``, by run id, and in ``files``.

    The config of the run takes the place of every ``run = "folder"``, the hash of its tensors that of the ``file`` of
    every ``kind = "xrv"``.
    """
    if isinstance(value, list):
        return [_resolved(item, path, folders, files) for item in value]
    if not isinstance(value, Mapping):
        return value
    values = {key: _resolved(inner, path, folders, files) for key, inner in value.items()}
    if isinstance(values.get("run"), str):
        values["run"] = _embedded_run(values["run"], path, folders)
    if values.get("kind") == "xrv" and isinstance(values.get("file"), str):
        from harness.weights.xrv import xrv_hash

        files.append(Path(values.pop("file")))
        digest = xrv_hash(files[-1])
        if values.setdefault("sha256", digest) != digest:
            raise InputError(f"{path}: {files[-1]} has tensors of sha256 {digest}, not {values['sha256']}")
    return values


def _embedded_run(folder: str, path: Path, folders: dict[str, Path]) -> dict[str, Any]:
    file = RunFolder(Path(folder)).config_file
    if not os.path.isfile(file):  # noqa: PTH113 - False for a name that is too long, where pathlib raises
        raise InputError(
            f"{path}: run = {folder!r}: no run folder there ({file} is missing); give a run folder's path"
        )
    config = _own_config(file, read_values(file))
    folders[config.run_id] = Path(folder)
    return to_dict(config)
