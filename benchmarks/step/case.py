"""What is measured: who trains which network by which method."""

from __future__ import annotations

from dataclasses import dataclass

NUM_LABELS = 14
LOOPS = {
    "baseline": "baseline loop, float32, Pillow",
    "careful": "careful loop, OpenCV",
    "ours": "ours",
    "careful_compiled": "careful loop with torch.compile",
    "ours_compiled": "ours with torch.compile",
}
"""Titles of the loops by name."""
VALIDATION_BATCHES = {"cpu": 64, "cuda": 256}
"""Images of a validation step, in ours and in the careful loop; the baseline takes its training batch."""


@dataclass(frozen=True)
class Case:
    """A network and a method, by their names in a run's config."""

    network: str
    method: str

    @property
    def name(self) -> str:
        return f"{self.method}_{self.network.removeprefix('densenet')}"

    @property
    def validates(self) -> bool:
        """Whether validation is measured as well: it does not depend on the method, so once is enough."""
        return self == CASES[0]


CASES = tuple(
    Case(network, method)
    for network in ("densenet121", "densenet40")
    for method in ("transfer_learning", "attention_transfer")
)
