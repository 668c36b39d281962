"""Draw one image's maps over it."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from datasets.files import replacing
from harness.export.explain import ExplainedImage
from launch.report.figures.drawing import show_radiograph

_SIDE_INCHES = 2.6
_OVERLAY, _ALPHA = "viridis", 0.5


def draw_explanation(image: ExplainedImage, path: Path) -> None:
    """Write a PNG: the page as it is, under its attention map, and under Grad-CAM of each label.

    Each map has a scale of its own, from 0 to its maximum.
    """
    assert image.page is not None, "an image that cannot be used has no maps"
    titled = [("Attention map", image.attention)]
    titled += [
        (f"Grad-CAM: {label} ({image.probabilities[label]:.2f})", found) for label, found in image.grad_cam.items()
    ]
    figure = Figure(figsize=(_SIDE_INCHES * (1 + len(titled)), _SIDE_INCHES + 0.4), layout="constrained")
    first, *rest = figure.subplots(1, 1 + len(titled), squeeze=False)[0]
    show_radiograph(first, image.page, image.path.name)
    for axes, (title, found) in zip(rest, titled, strict=True):
        show_radiograph(axes, image.page, title)
        if found is not None:
            axes.imshow(found, cmap=_OVERLAY, alpha=_ALPHA, vmin=0, vmax=max(float(found.max()), 1e-12))
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130, facecolor="white", metadata={"Software": None})
