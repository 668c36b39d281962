"""Validate plain values from a TOML or JSON file into a ``RunConfig``."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from datasets.errors import InputError
from harness.config.run import BetaSearch, DataConfig, NetworkConfig, Objective, RunConfig, Weights
from harness.config.schedule import Schedule


@cache
def _adapter() -> Any:
    return TypeAdapter(RunConfig)


def from_dict(values: dict[str, Any], *, where: str) -> RunConfig:
    """Validate plain values; ``where`` names their file in the error.

    Raises:
        InputError: for an unknown key or a value out of range, naming key, value and what is known.
    """
    try:
        config: RunConfig = _adapter().validate_python(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(where, item) for item in error.errors())) from None
    return config


def _explain(where: str, item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "unexpected_keyword_argument":
        # The innermost part before the key that names a table; RunConfig where there is none.
        owner = _OWNERS.get(location[-2], RunConfig) if len(location) > 1 else RunConfig
        known = ", ".join(f.name for f in dataclasses.fields(owner))
        message = f"unknown key; known keys: {known}"
    return f"{where}: {'.'.join(location)}: {message}"


_OWNERS: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "init": Weights,
    "teacher": Weights,
    "schedule": Schedule,
    "BetaSearch": BetaSearch,
    **{str(objective.method): objective for objective in get_args(Objective)},
}
"""The dataclass of each table that a config file may hold, as pydantic names it in the place of an error."""
