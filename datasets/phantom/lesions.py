"""Find the boxes around what a finding has changed in a picture."""

from __future__ import annotations

import numpy as np

from datasets.phantom.canvas import Field

_LARGEST_SHARE = 0.2
"""Of the largest part's pixels; smaller parts have no box."""
_GAP = 0.03
"""Share of the picture's shorter side below which two parts are one."""


def lesion_boxes(change: Field) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom in pixels of each part of a change of density (H, W), where it is half its largest.

    None where nothing was changed.
    """
    from scipy import ndimage

    strength = np.abs(change)
    seen = strength >= 0.5 * max(float(strength.max()), 1e-3)
    width = 1 + 2 * round(_GAP * min(change.shape) / 2)
    parts, _ = ndimage.label(ndimage.binary_dilation(seen, np.ones((width, width), bool)))
    parts[~seen] = 0
    sizes = np.bincount(parts.ravel())[1:]
    boxes = ndimage.find_objects(parts)
    return [
        (across.start, down.start, across.stop, down.stop)
        for (down, across), size in zip(boxes, sizes, strict=True)
        if size >= _LARGEST_SHARE * sizes.max()
    ]
