"""What a report is made with beside the runs: options of ``cxr report``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from launch.ranges import NotNegative, Range

ASKED_MAPS = 3
"""Radiographs of the attention maps when ``data_dir`` is given and no number."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is drawn and resampled, and where images and weights are found."""

    data_dir: Path | None = None
    """Folder that holds DATASET.beton: attention maps are drawn too."""
    attention_maps: Annotated[int, Range("0 to 20 radiographs", range(21).__contains__)] | None = None
    """Radiographs of the attention maps; 3 with --data-dir, else 0. Without --data-dir the runs' own betons."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 file, for attention maps of an ImageNet teacher."""
    xrv_weights: tuple[Path, ...] = ()
    """torchxrayvision files, for attention maps of such a teacher."""
    resamples: NotNegative = 2000
    """Resamples of the patients in the paired bootstrap; 0 leaves it out."""
    bootstrap_seed: NotNegative = 0
    """Seed of the paired bootstrap."""
    bootstrap_seconds: Annotated[float, Range("0 or more", lambda value: value >= 0)] = 8.0
    """Seconds after which the paired bootstrap begins no new pair; results are kept, and the next report goes on."""

    @property
    def num_maps(self) -> int:
        if self.attention_maps is None:
            return 0 if self.data_dir is None else ASKED_MAPS
        return self.attention_maps


UNHURRIED = Options(bootstrap_seconds=math.inf)
"""All defaults, the paired bootstrap finished however long it takes."""
