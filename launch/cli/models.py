"""``cxr models``: list the networks and their parameter counts, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets.errors import InputError

if TYPE_CHECKING:
    from harness.networks import NetworkSummary


@dataclass(frozen=True, kw_only=True)
class Models:
    """List every network under each of its scopes, with its total and trainable parameters.

    For example:
        cxr models --num-outputs 15
    """

    num_outputs: int = 14
    """Number of labels that the networks predict."""
    json: bool = False
    """Print JSON alone on standard output."""

    def run(self) -> None:
        """Print the list.

        Raises:
            InputError: for fewer outputs than one.
        """
        if self.num_outputs < 1:
            raise InputError(f"--num-outputs {self.num_outputs}: a network needs at least one output")
        from harness.networks import summaries

        rows = summaries(self.num_outputs)
        if self.json:
            print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        else:
            _print_table(rows)


def _print_table(rows: list[NetworkSummary]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "scope")
    for column in ("outputs", "parameters", "trainable"):
        table.add_column(column, justify="right")
    for row in rows:
        counts = (row.num_outputs, row.num_parameters, row.num_trainable)
        table.add_row(row.network, row.scope, *(f"{count:,}" for count in counts))
    Console().print(table)
