"""``cxr models``: list the networks and their parameter counts, or show one, as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from datasets.errors import InputError
from launch.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Models:
    """List every network under each of its scopes, with its total and trainable parameters, or show one network.

    torchvision/NAME and timm/NAME are every classifier of those libraries; nothing is downloaded to show them.

    For example:
        cxr models --num-outputs 15
        cxr models timm/convnext_tiny --taps
    """

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME")] = None
    """A network, whose multiply-adds and attention planes are shown too; default: all that are registered."""
    taps: bool = False
    """List the modules of NAME, of a library, that can be its attention tap, with the shapes of their planes."""
    scope: str = "all"
    """Scope of NAME."""
    image_size: int = 256
    """Side of the images by which NAME is measured."""
    num_outputs: Count = 14
    """Number of labels that the networks predict."""
    json: bool = False
    """Print JSON alone on standard output."""

    def run(self) -> None:
        """Print the list.

        Raises:
            InputError: for what the network does not have.
        """
        if self.name is None and (self.taps or self.scope != "all"):
            raise InputError("--taps and --scope are of one network: cxr models NAME --taps")
        from harness.networks import summaries

        rows = summaries(self.num_outputs) if self.name is None else [self._one(self.name)]
        if self.json:
            print(json.dumps(rows if self.name is None else rows[0], indent=2))
            return
        from launch.terminal import print_whole

        for table in _tables(rows):
            print_whole(table)

    def _one(self, name: str) -> dict[str, Any]:
        """What is known of one network."""
        from harness.config import NetworkConfig
        from harness.config.networks import is_library
        from harness.networks import multiply_adds, planes_shape, summary
        from harness.networks.backbone import find_tap
        from harness.networks.library import probe

        size = self.image_size
        try:
            config = NetworkConfig(name=name, scope=self.scope, image_size=size if is_library(name) else None)
        except ValueError as error:
            raise InputError(str(error)) from None
        planes = planes_shape(config, size)
        row = summary(config, self.num_outputs) | {"image_size": size, "multiply_adds": multiply_adds(config, size)}
        row |= {"tap": find_tap(config).name if is_library(name) else None, "planes": planes}
        if self.taps and not is_library(name):
            raise InputError(f"--taps: {name} has the paper's tap, and no other")
        if self.taps:
            found = probe(name, size)
            row["taps"] = [{"tap": tap, "planes": found.taps[tap].shape} for tap in found.listed]
        return row


def _tables(rows: list[dict[str, Any]]) -> Any:
    """Yield a table of the networks, and one of the taps of a single one."""
    from rich.table import Table

    shown = {"num_outputs": "outputs", "num_parameters": "parameters", "num_trainable": "trainable"}
    shown |= {"multiply_adds": "multiply-adds"} if "multiply_adds" in rows[0] else {}
    table = Table("network", "scope")
    for column in shown.values():
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row["network"], row["scope"], *(f"{row[key]:,}" for key in shown))
    yield table
    if "planes" in rows[0]:
        taps = rows[0].get("taps", [{"tap": rows[0]["tap"] or "the paper's", "planes": rows[0]["planes"]}])
        table = Table("attention tap", "planes", "height", "width")
        for tap in taps:
            mark = " (default)" if tap["tap"] == rows[0]["tap"] and len(taps) > 1 else ""
            table.add_row(tap["tap"] + mark, *map(str, tap["planes"]))
        yield table
