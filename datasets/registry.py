"""Register things of one kind by name, those of other installed packages included.

A package adds an entry by an entry point of the registry's group, whose value is a module that registers the entry
when it is imported:

    [project.entry-points."cxr_harness.networks"]
    tinynet = "tinynet.registration"
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by name, in the order in which they were registered.

    Other packages' modules are imported once: when all names are asked for, or one that is not known.
    """

    def __init__(self, kind: str, group: str) -> None:
        """``kind`` names an entry in messages; ``group`` is the entry-point group of other packages."""
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def add(self, name: str, entry: Entry) -> Entry:
        """Register ``entry`` under ``name``.

        Raises:
            ValueError: when another entry has the name.
        """
        if self._entries.setdefault(name, entry) != entry:
            raise ValueError(f"the {self.kind} {name!r} is registered twice")
        return entry

    def remove(self, name: str) -> None:
        """Take an entry out again, as tests do with what they add."""
        del self._entries[name]

    def check(self, key: str, name: object) -> None:
        """Raise ValueError, with all known names, unless ``name`` is registered; ``key`` is what holds it."""
        if not isinstance(name, str) or name not in self:
            raise ValueError(f"{key} = {name!r} is unknown; known: {', '.join(self)}")

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for point in entry_points(group=self.group):
            try:
                importlib.import_module(point.value)
            except Exception as error:  # noqa: BLE001  another package's fault must not take this one down
                logger.warning(
                    "the %s of entry point %s = %s is left out: %s", self.kind, point.name, point.value, error
                )
