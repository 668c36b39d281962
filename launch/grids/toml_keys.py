"""Keys of a grid file: a table comes in; nothing, or one line that names the wrong key, goes out."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from datasets.errors import InputError
from harness.config import OBJECTIVES, DataConfig, NetworkConfig, RunConfig, Schedule, TransferLearning, Weights

TABLES: Mapping[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "init": Weights,
    "teacher": Weights,
    "schedule": Schedule,
}
EXTRA: Mapping[str, tuple[str, ...]] = {"schedule": ("preset",)}
"""Keys that a grid file may use beside those of the dataclass."""
CONFIG_KEYS = tuple(field.name for field in dataclasses.fields(RunConfig))
BETA_KEYS = ("points",)


def check_config_keys(values: Mapping[str, Any], where: str) -> None:
    """Refuse keys that no config has, with the known ones; ``values`` are one run's, without lists.

    Raises:
        InputError: for the first unknown key.
    """
    check_keys(values, CONFIG_KEYS, where)
    for key, table in values.items():
        if key == "objective":
            _check_objective(as_table(table, f"{where}.objective"), f"{where}.objective")
        elif key in TABLES:
            _check_table(key, table, f"{where}.{key}")


def _check_objective(table: Mapping[str, Any], where: str) -> None:
    method = table.get("method", TransferLearning.method)
    if method not in OBJECTIVES:
        raise InputError(f"{where}.method: {method!r} is unknown; {_known(str(method), OBJECTIVES)}")
    check_keys(table, _fields(OBJECTIVES[method].config), where)
    if "teacher" in table:
        _check_table("teacher", table["teacher"], f"{where}.teacher")
    if isinstance(table.get("beta"), Mapping):
        check_keys(table["beta"], BETA_KEYS, f"{where}.beta")


def _check_table(name: str, table: Any, where: str) -> None:
    check_keys(as_table(table, where), (*_fields(TABLES[name]), *EXTRA.get(name, ())), where)


def check_keys(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse the first key that is not among the known ones.

    Raises:
        InputError: with the nearest known key and all of them.
    """
    known = tuple(known)
    for key in values:
        if key not in known:
            raise InputError(f"{where}: key {key!r} is unknown; {_known(key, known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean x? `` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """The value, which must be a table.

    Raises:
        InputError: when it is none.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected a table of keys, found {value!r}")
    return value


def _known(word: str, known: Iterable[str]) -> str:
    known = tuple(known)
    return f"{nearest(word, known)}known: {', '.join(known)}"


def _fields(owner: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(owner))
