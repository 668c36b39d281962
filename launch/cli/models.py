"""``cxr models``: list the networks and their parameter counts, as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from datasets.errors import InputError


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
        if self.num_outputs < 1:
            raise InputError(f"--num-outputs {self.num_outputs}: a network needs at least one output")
        from harness.networks import summaries

        rows = summaries(self.num_outputs)
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        from rich.table import Table

        from launch.terminal import print_whole

        table = Table("network", "scope")
        for column in ("outputs", "parameters", "trainable"):
            table.add_column(column, justify="right")
        for network, scope, *counts in (row.values() for row in rows):
            table.add_row(network, scope, *(f"{count:,}" for count in counts))
        print_whole(table)
