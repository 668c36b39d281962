"""One case of the step benchmark: who trains which network by which method; it goes to a process as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

NUM_LABELS = 14
Kind = Literal["reference", "careful", "ours", "careful_compiled", "ours_compiled"]


@dataclass(frozen=True)
class Case:
    """A network and a method."""

    network: Literal["densenet121", "densenet40"]
    method: Literal["transfer_learning", "attention_transfer"]

    @property
    def name(self) -> str:
        return f"{self.method}_{self.network.removeprefix('densenet')}"

    @property
    def validates(self) -> bool:
        """Whether validation is measured as well: it does not depend on the method, so once is enough."""
        return (self.network, self.method) == ("densenet121", "transfer_learning")


CASES = tuple(
    Case(network, method)
    for network in ("densenet121", "densenet40")
    for method in ("transfer_learning", "attention_transfer")
)


def targets_of(index: int) -> torch.Tensor:
    """Made-up targets (14,) uint8, the same for everybody."""
    bits = torch.arange(NUM_LABELS)
    return ((index >> bits) & 1).to(torch.uint8)
