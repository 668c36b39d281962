"""Render a picture of a patient's body and findings to uint8 gray (H, W).

The datasets share anatomy and traces; shape, contrast curve, noise, borders and lettering tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.canvas import Drawing, Field, Frame, clouds
from datasets.phantom.patients import Anatomy, Case, Finding, Profile, View, afflict
from datasets.phantom.scene import frontal_scene, lateral_scene
from datasets.phantom.traces import TRACES

_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0, 1), (0.5, 0), (1, 1)), ((0.25, 0.6), (0.75, 0.6))),
    "L": (((0, 0), (0, 1), (0.9, 1)),),
    "P": (((0, 1), (0, 0), (0.9, 0.1), (0.9, 0.45), (0, 0.55)),),
    "R": (((0, 1), (0, 0), (0.9, 0.1), (0.9, 0.45), (0, 0.55), (0.9, 1)),),
}
"""Letters as lines in a unit box: a font would make the bytes depend on the machine."""


Traced = Callable[[Finding, Field], None]
"""Is told of each finding that leaves a trace, and by how much that changes the density (H, W)."""


def render(
    profile: Profile,
    anatomy: Anatomy,
    case: Case,
    view: View,
    size: int,
    rng: np.random.Generator,
    traced: Traced | None = None,
) -> NDArray[np.uint8]:
    """Draw a picture of ``size`` pixels on its shorter side; ``rng`` gives pose, exposure and noise."""
    lateral = view == "LATERAL"
    aspect = profile.aspects[int(rng.integers(len(profile.aspects)))]
    if lateral:
        aspect = min(aspect, 1 / aspect)
    spread = 1.6 if view == "AP" else 1.0
    frame = Frame(
        height=size if aspect >= 1 else round(size / aspect),
        width=round(size * aspect) if aspect >= 1 else size,
        zoom=float(np.clip(rng.normal(1.0, 0.045), 0.85, 1.15)),
        angle=float(np.clip(rng.normal(0, 0.028 * spread), -0.15, 0.15)),
        shift=(float(rng.normal(0, 0.03 * spread)), float(rng.normal(0, 0.03))),
        mirror=-1 if lateral and rng.random() < 0.15 else 1,
    )
    body = afflict(anatomy, case)
    scene = lateral_scene(body, frame) if lateral else frontal_scene(body, frame, case, bedside=view == "AP")
    for finding in case:
        if finding.name in TRACES:
            before = scene.density.copy() if traced else None
            TRACES[finding.name](scene, finding, np.random.default_rng(finding.key))
            if traced and before is not None:
                traced(finding, scene.density - before)
    return _develop(scene.density + scene.markings, profile, frame, view, rng)


def _develop(
    density: Field, profile: Profile, frame: Frame, view: View, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Expose, add noise, lettering and border, and turn into gray levels."""
    span = profile.white - profile.black
    black = profile.black + rng.normal(0, 0.025)
    gray = (density - black) * (1 / (span * rng.uniform(0.92, 1.08)))
    gray += 0.010 * clouds(rng, gray.shape, 4)
    gray += (profile.noise * rng.uniform(0.5, 1.5)) * rng.standard_normal(gray.shape, dtype=np.float32)
    np.clip(gray, 0, 1, out=gray)
    gamma = profile.gamma * np.exp(rng.normal(0, 0.08))
    np.power(gray, gamma, out=gray)
    words = profile.lettering if view == "LATERAL" else (*profile.lettering, view)
    word = words[int(rng.integers(len(words)))]
    np.maximum(gray, _lettering(frame, word, rng), out=gray)
    if rng.random() < profile.border_chance:
        _blacken_border(gray, rng)
    return (gray * 255 + 0.5).astype(np.uint8)


def _lettering(frame: Frame, word: str, rng: np.random.Generator) -> Field:
    """Lead letters in an upper corner, upright whatever the pose."""
    drawing = Drawing(Frame(height=frame.height, width=frame.width))
    size = 0.055
    left = (-1) ** int(rng.integers(2)) * 0.84 - size * len(word) / 2
    top = rng.uniform(-0.93, -0.85)
    for place, letter in enumerate(word):
        for stroke in _STROKES[letter]:
            drawing.line([(left + size * (1.3 * place + x), top + size * 1.3 * y) for x, y in stroke], 0.015, 0.95)
    return drawing.array()


def _blacken_border(gray: Field, rng: np.random.Generator) -> None:
    """Black strips on one or two sides, where the collimator cut the beam."""
    strips = np.rint(rng.uniform(0, 0.045, 4) * min(gray.shape) * (rng.random(4) < 0.5)).astype(int)
    top, bottom, left, right = (int(strip) for strip in strips)
    gray[:top] = 0
    gray[gray.shape[0] - bottom :] = 0
    gray[:, :left] = 0
    gray[:, gray.shape[1] - right :] = 0
