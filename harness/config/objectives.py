"""Register objectives: the config dataclass of each method, its title and the function that builds it.

``RunConfig.objective`` is one of the registered configs, told apart by ``method``. An objective of another package is
registered by an entry point of the group ``cxr_harness.objectives`` (see ``docs/extending.md``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from datasets.registry import Registry

Config = TypeVar("Config", bound=type)


@dataclass(frozen=True, kw_only=True)
class ObjectiveEntry:
    """What the harness knows of one method."""

    config: type[Any]
    """Its config dataclass."""
    title: str
    """In reports."""
    builder: str
    """``module:function`` that makes the objective of a config and ``harness.objectives.Sources``."""


OBJECTIVES = Registry[ObjectiveEntry]("objective", "cxr_harness.objectives")


def register_objective(*, title: str, builder: str) -> Callable[[Config], Config]:
    """Class decorator that registers an objective's config dataclass under the default of its field ``method``."""

    def register(config: Config) -> Config:
        (method,) = (item.default for item in dataclasses.fields(config) if item.name == "method")
        OBJECTIVES.add(str(method), ObjectiveEntry(config=config, title=title, builder=builder))
        return config

    return register


class OneOfTheRegistered:
    """Mark of a field that pydantic validates as the union of all registered configs, when it builds the schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Schema of the union, told apart by ``method``."""
        configs = tuple(entry.config for entry in OBJECTIVES.values())
        return handler.generate_schema(Annotated[Union[configs], Field(discriminator="method")])  # noqa: UP007
