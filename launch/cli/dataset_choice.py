"""The choice of a dataset on the command line: one of the registered names, those of other packages included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    DatasetChoice = str
else:
    from datasets.sources.registry import DATASETS

    DatasetChoice = Literal[tuple(DATASETS)]
