"""Validate plain values from a TOML or JSON file into a ``RunConfig``."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from datasets.errors import InputError, did_you_mean
from datasets.sources.registry import JOINT
from harness.config.loss import LossOptions
from harness.config.objectives import OBJECTIVES
from harness.config.run import BetaSearch, DataConfig, NetworkConfig, RunConfig, Weights
from harness.config.schedule import Schedule

T = TypeVar("T")
UNKNOWN_KEY = "unexpected_keyword_argument"
"""pydantic's type of the error."""
SHOWN_LENGTH = 40
"""Characters of a refused value that a message repeats; longer ones are left out."""
TABLES: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "init": Weights,
    "teacher": Weights,
    "schedule": Schedule,
    "loss": LossOptions,
    "BetaSearch": BetaSearch,
}
"""The dataclass of each table of a config file but the objective's, by the name that pydantic gives its place."""


def from_dict(values: dict[str, Any], *, where: str) -> RunConfig:
    """Validate plain values; ``where`` names their file in the error.

    Raises:
        InputError: for an unknown key, a value of another type or out of range, naming key, value and what is known.
    """
    values = with_joined_data(values, where)
    try:
        config: RunConfig = validate_strictly(_adapter(tuple(OBJECTIVES)), values)
    except ValidationError as error:
        # One line: of several, a key that is misspelt explains the one that is missing.
        first = min(error.errors(), key=lambda item: item["type"] != UNKNOWN_KEY)
        raise InputError(_explain(where, first)) from None
    except (ValueError, RecursionError) as error:  # of json, for what no file of a sound config holds
        raise InputError(f"{where}: not a run's config ({type(error).__name__})") from None
    return config


def with_joined_data(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values with ``data`` that is a list as one table: datasets and subsets joined, with what is common to all.

    Raises:
        InputError: for a list of anything else, and for two values of a common key.
    """
    tables = values.get("data") if isinstance(values, dict) else None
    if not isinstance(tables, list):
        return values
    if not tables or not all(isinstance(table, dict) and isinstance(table.get("dataset"), str) for table in tables):
        raise InputError(f"{where}: data: expected a table with dataset, or a list of such tables")
    if len(tables) == 1:
        raise InputError(f"{where}: data: a list of one dataset; expected two or more, or a table [data] for one")
    common: dict[str, Any] = {}
    for table in tables:
        for key in table.keys() - {"dataset", "subset"}:
            if common.setdefault(key, table[key]) != table[key]:
                both = f"{common[key]!r} and {table[key]!r}"
                raise InputError(f"{where}: data.{key}: {both}; it holds for all datasets, so give it once")
    subsets = [str(table.get("subset", "full")) for table in tables]
    subset = "full" if set(subsets) == {"full"} else JOINT.join(subsets)
    return {**values, "data": {**common, "dataset": JOINT.join(one["dataset"] for one in tables), "subset": subset}}


def validate_strictly(adapter: TypeAdapter[T], values: Any) -> T:
    """Validate as JSON is: ``true`` and ``"1"`` are no numbers, as pydantic otherwise takes them."""
    return adapter.validate_json(json.dumps(values, default=str), strict=True)


def explain_value(item: Any) -> str:
    """pydantic's words for what is wrong with a value, and the value if it is a short one."""
    message = str(item["msg"]).removeprefix("Value error, ")
    shown = repr(item["input"])
    names_it = item["type"] in ("value_error", "missing") or len(shown) > SHOWN_LENGTH
    return message if names_it else f"{message}, found {shown}"


@lru_cache(maxsize=4)
def _adapter(_objectives: tuple[str, ...]) -> TypeAdapter[RunConfig]:
    """pydantic's validator, built anew when an objective has been registered since."""
    return TypeAdapter(RunConfig)


def _explain(where: str, item: Any) -> str:
    # Less what names a branch of a union, as literal['zero','one'].
    location = [part for part in map(str, item["loc"]) if "[" not in part]
    message = explain_value(item)
    if item["type"] == UNKNOWN_KEY:
        # The innermost part before the key that names a table; RunConfig where there is none.
        owners = TABLES | {method: entry.config for method, entry in OBJECTIVES.items()}
        owner = owners.get(location[-2], RunConfig) if len(location) > 1 else RunConfig
        known = [field.name for field in dataclasses.fields(owner)]
        message = f"unknown key; {did_you_mean(location[-1], known)}known keys: {', '.join(known)}"
    return ": ".join(filter(None, (where, ".".join(location), message)))
