"""What findings inside the lung look like: a scene and a finding enter, the scene's fields are changed in place.

Every trace works on a lung's own coordinates, so that it serves frontal and lateral pictures alike. Its details come
from the finding's key alone: all pictures of a study show the same thing.
"""

from __future__ import annotations

import math

import numpy as np

from datasets.phantom.canvas import Drawing, Field, blob, clouds, ellipse, step
from datasets.phantom.findings import Finding
from datasets.phantom.scene import Lung, Scene


def affected_lung(scene: Scene, finding: Finding) -> Lung:
    """The lung on the finding's side; a lateral picture shows both as one."""
    return scene.lungs[0] if scene.lateral else scene.lungs[(finding.side + 1) // 2]


def nodule(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """One to three small round shadows."""
    for _ in range(int(rng.integers(1, 4))):
        lung = scene.lungs[int(rng.integers(len(scene.lungs)))]
        place = lung.place(rng.uniform(-0.35, 0.65), rng.uniform(0.15, 0.85))
        radius = rng.uniform(0.050, 0.075) + 0.02 * finding.severity
        shape = step(ellipse(scene.u, scene.v, place, (radius, radius * rng.uniform(0.85, 1.15))), 1.1)
        scene.density += (0.13 + 0.14 * finding.severity) * shape


def mass(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """One large, slightly lobed shadow."""
    lung = affected_lung(scene, finding)
    place = lung.place(rng.uniform(-0.3, 0.5), rng.uniform(0.2, 0.75))
    radius = 0.12 + 0.09 * finding.severity
    shape = ellipse(scene.u, scene.v, place, (radius, radius * rng.uniform(0.8, 1.2)), rng.uniform(0, math.pi))
    shape += 0.12 * clouds(rng, shape.shape, 9)
    seen = 0.3 + 0.7 * lung.mask
    scene.density += (0.15 + 0.13 * finding.severity) * step(shape, 0.8) * seen


def consolidation(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """One dense zone that ends at a straight fissure, with dark air-filled bronchi in it."""
    lung = affected_lung(scene, finding)
    fissure, slope = rng.uniform(0.35, 0.65), rng.uniform(-0.25, 0.25)
    depth = lung.y - fissure - slope * lung.x
    if rng.random() < 0.5:
        depth = -depth
    extent = 0.22 + 0.25 * finding.severity
    zone = step(depth, 0.05) * step(extent - depth, 0.35)
    zone *= 0.9 + 0.12 * clouds(rng, zone.shape, 14)
    scene.density += (0.13 + 0.13 * finding.severity) * zone * lung.mask
    scene.markings *= 1 - 1.2 * zone * lung.mask


def pneumonia(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """A cluster of soft patches in one region, most often low."""
    lung = affected_lung(scene, finding)
    middle = (rng.uniform(-0.1, 0.4), rng.uniform(0.45, 0.9))
    patches = np.zeros_like(scene.u)
    for _ in range(int(rng.integers(5, 8))):
        place = lung.place(middle[0] + rng.normal(0, 0.30), middle[1] + rng.normal(0, 0.13))
        radius = rng.uniform(0.055, 0.095)
        patches += (rng.uniform(0.6, 1.0)) * blob(scene.u, scene.v, place, (radius, radius))
    scene.density += (0.11 + 0.15 * finding.severity) * np.minimum(patches, 1.4) * lung.mask


def infiltration(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """A fine mottled veil over a large part of the lungs."""
    grains = np.clip(clouds(rng, scene.u.shape, 34) + 0.2, 0, 2)
    veil = np.zeros_like(scene.u)
    for lung in scene.lungs:
        weight = 1.0 if len(scene.lungs) == 1 or lung.side == finding.side else rng.uniform(0.2, 1.0)
        height = rng.uniform(0.3, 0.8)
        veil += weight * np.exp(-((lung.y - height) ** 2) * 5) * lung.mask
    scene.density += (0.05 + 0.08 * finding.severity) * veil * grains


def edema(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Haze around both hila, like a bat's wings, with swollen vessels."""
    haze = np.zeros_like(scene.u)
    for lung, hilum in zip(scene.lungs, scene.hila, strict=True):
        wing = (hilum[0] + lung.side * 0.12 * (not scene.lateral), hilum[1] + 0.08)
        haze += blob(scene.u, scene.v, wing, (0.26, 0.34)) * lung.mask
    haze *= 1 + 0.12 * clouds(rng, haze.shape, 10)
    scene.density += (0.05 + 0.15 * finding.severity) * haze
    scene.markings *= 1.05 + 0.25 * finding.severity


def atelectasis(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Two to four flat plates of collapsed lung low in it; the diaphragm has been raised by the anatomy."""
    lung = affected_lung(scene, finding)
    tilt = rng.uniform(-0.10, 0.10)
    for _ in range(int(rng.integers(2, 5))):
        height, reach = rng.uniform(0.55, 0.92), rng.uniform(0.35, 0.6)
        off = lung.y - height - (tilt + rng.normal(0, 0.03)) * lung.x
        across = ((lung.x - rng.uniform(-0.1, 0.3)) / reach) ** 2
        plate = np.exp(-off * off * (1 / 0.020**2) - across * across)
        scene.density += (0.12 + 0.14 * finding.severity) * plate * lung.mask


def fibrosis(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Criss-cross streaks towards the outside and the bottom of both lungs."""
    drawing = Drawing(scene.frame)
    for lung in scene.lungs:
        count = round(45 + 45 * finding.severity)
        middles = lung.places(rng.uniform(-0.2, 0.95, count), rng.beta(3, 1.6, count))
        turns, reach = rng.uniform(0, math.pi, count), rng.uniform(0.015, 0.045, count)
        along = np.stack((reach * np.cos(turns), reach * np.sin(turns)), axis=-1)
        drawing.lines(np.stack((middles - along, middles + along), axis=1), 0.012, rng.uniform(0.5, 1.0, count))
    streaks = drawing.array()
    scene.density += (0.13 + 0.13 * finding.severity) * streaks * _all_lungs(scene)


def _all_lungs(scene: Scene) -> Field:
    mask = scene.lungs[0].mask
    return mask if len(scene.lungs) == 1 else mask + scene.lungs[1].mask
