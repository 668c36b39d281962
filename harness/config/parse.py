"""Validate plain values from a TOML or JSON file into a ``RunConfig``."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from datasets.errors import InputError
from harness.config.objectives import OBJECTIVES
from harness.config.run import BetaSearch, DataConfig, NetworkConfig, RunConfig, Weights
from harness.config.schedule import Schedule

TABLES: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "init": Weights,
    "teacher": Weights,
    "schedule": Schedule,
    "BetaSearch": BetaSearch,
}
"""The dataclass of each table of a config file but the objective's, by the name that pydantic gives its place."""


def from_dict(values: dict[str, Any], *, where: str) -> RunConfig:
    """Validate plain values; ``where`` names their file in the error.

    Raises:
        InputError: for an unknown key or a value out of range, naming key, value and what is known.
    """
    try:
        config: RunConfig = _adapter(tuple(OBJECTIVES)).validate_python(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(where, item) for item in error.errors())) from None
    return config


@lru_cache(maxsize=4)
def _adapter(_objectives: tuple[str, ...]) -> Any:
    """pydantic's validator, built anew when an objective has been registered since."""
    return TypeAdapter(RunConfig)


def _explain(where: str, item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "unexpected_keyword_argument":
        # The innermost part before the key that names a table; RunConfig where there is none.
        owners = TABLES | {method: entry.config for method, entry in OBJECTIVES.items()}
        owner = owners.get(location[-2], RunConfig) if len(location) > 1 else RunConfig
        known = ", ".join(f.name for f in dataclasses.fields(owner))
        message = f"unknown key; known keys: {known}"
    return ": ".join(filter(None, (where, ".".join(location), message)))
