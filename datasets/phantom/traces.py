"""Draw findings: each trace changes the fields of a scene in place.

Traces work on a lung's own coordinates, so that they serve frontal and lateral pictures alike. Their details come
from the finding's key alone: all pictures of a study show the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from datasets.phantom.canvas import Drawing, blob, clouds, ellipse, step
from datasets.phantom.patients import Finding
from datasets.phantom.scene import Lung, Point, Scene

Trace = Callable[[Scene, Finding, np.random.Generator], None]

_METAL = 0.42
"""Density of a device at full strength."""


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
        middles = np.stack(lung.place(rng.uniform(-0.2, 0.95, count), rng.beta(3, 1.6, count)), axis=-1)
        turns, reach = rng.uniform(0, math.pi, count), rng.uniform(0.015, 0.045, count)
        along = np.stack((reach * np.cos(turns), reach * np.sin(turns)), axis=-1)
        drawing.lines(np.stack((middles - along, middles + along), axis=1), 0.012, rng.uniform(0.5, 1.0, count))
    lungs = sum(lung.mask for lung in scene.lungs)
    scene.density += (0.13 + 0.13 * finding.severity) * drawing.array() * lungs


def effusion(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Fluid at the bottom of one lung or both, its surface rising towards the chest wall."""
    s = finding.severity
    both = rng.random() < 0.3
    for lung in scene.lungs:
        if not both and lung is not affected_lung(scene, finding):
            continue
        level = 1.01 - 0.42 * s * (1.0 if lung.side == finding.side else 0.7)
        rise = np.clip(lung.x, -0.2, 1.0) ** 2 * (0.11 + 0.12 * s)
        fluid = step(lung.y + rise - level, 0.10) * lung.mask
        scene.density += (0.17 + 0.09 * s) * fluid
        scene.markings *= 1 - 0.9 * fluid


def pneumothorax(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Air outside the lung along wall and apex: darker, without vessels, bounded by the lung's thin bright edge."""
    lung = affected_lung(scene, finding)
    depth = 0.13 + 0.37 * finding.severity
    outward = lung.x + 0.75 - 0.9 * lung.y
    inner = 0.05 + depth * np.clip(outward + 0.35, 0, 1.1)
    air = step(inner - lung.cage, 0.06) * lung.mask
    edge = np.exp(-(((lung.cage - inner) * (1 / 0.045)) ** 2)) * step(inner - 0.10, 0.1)
    scene.density -= (0.06 + 0.06 * finding.severity) * air
    scene.density += (0.08 + 0.07 * finding.severity) * edge * lung.mask
    scene.density += 0.05 * finding.severity * (lung.mask - air)
    scene.markings *= 1 - air


def pleural_thickening(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """A bright wavy rim inside the chest wall, thickest at the apex."""
    lung = affected_lung(scene, finding)
    thick = 0.22 + 0.22 * finding.severity + 0.06 * clouds(rng, lung.cage.shape, 7)
    outer = step(lung.x + 0.8 - 1.1 * lung.y, 0.6)
    rim = step(thick * outer - lung.cage, 0.14) * step(lung.cage + 0.02, 0.08) * outer
    rim *= step(0.98 - lung.y, 0.15) * (0.35 + 0.65 * lung.mask)
    scene.density += (0.11 + 0.11 * finding.severity) * rim


def emphysema(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Dark bullae; the anatomy has already been given large, dark lungs, flat diaphragm and few vessels."""
    for lung in scene.lungs:
        for _ in range(int(rng.integers(1, 4))):
            place = lung.place(rng.uniform(-0.1, 0.6), rng.uniform(0.1, 0.6))
            bulla = ellipse(scene.u, scene.v, place, (rng.uniform(0.08, 0.14), rng.uniform(0.10, 0.16)))
            scene.density -= (0.05 + 0.05 * finding.severity) * step(bulla, 0.9) * lung.mask


def hernia(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Stomach above the diaphragm, behind the heart: a round bubble with a bright wall and a fluid level."""
    (u, v), (across, _) = scene.heart
    place = (u + rng.uniform(-0.10, 0.12) + (0.30 if scene.lateral else 0.0), v + rng.uniform(0.0, 0.06))
    radius = (0.10 + 0.07 * finding.severity) * (1 + across - 0.275)
    inside = ellipse(scene.u, scene.v, place, (radius, radius * 0.95))
    wall = np.exp(-((inside * 3) ** 2))
    air = step(inside, 0.2) * step(place[1] + 0.25 * radius - scene.v, 0.03)
    scene.density += 0.07 * wall - (0.12 + 0.09 * finding.severity) * air
    scene.density += 0.05 * step(inside, 0.5)


def fracture(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """Callus seen from the side; in a frontal picture the ribs themselves have been drawn broken."""
    if not scene.lateral:
        return
    lung = scene.lungs[0]
    across, highest = rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.5)
    for number in range(int(rng.integers(2, 5))):
        place = lung.place(across + 0.05 * number, highest + 0.15 * number)
        scene.density += (0.18 + 0.16 * finding.severity) * blob(scene.u, scene.v, place, (0.060, 0.055))


def devices(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """One to three of: central line, breathing tube, pacemaker, leads; bright and sharp."""
    strength = 0.40 + 0.50 * finding.severity
    draw, side = Drawing(scene.frame), finding.side
    for kind in rng.permutation(4)[: int(rng.integers(1, 4))]:
        if kind == 0:
            line = ((side * 0.75, -0.62), (side * 0.35, -0.66), (side * 0.12, -0.50), (-0.06, -0.30), (-0.07, 0.02))
            draw.line(line, 0.022, strength)
        elif kind == 1:
            draw.line(((0.0, -1.05), (0.01, -0.60), (0.0, -0.33)), 0.034, strength * 0.9)
        elif kind == 2:
            _pacemaker(draw, scene.heart[0], side, strength)
        else:
            _leads(draw, rng, strength)
    scene.density += _METAL * draw.array()


def _pacemaker(draw: Drawing, heart: Point, side: int, strength: float) -> None:
    u, v = side * 0.58, -0.50
    box = ((u - 0.09, v - 0.05), (u + 0.06, v - 0.09), (u + 0.10, v + 0.05), (u - 0.06, v + 0.09))
    draw.polygon(box, strength)
    turns = np.linspace(0, 1, 9)
    across = u + (heart[0] + 0.06 - u) * turns - side * 0.10 * np.sin(math.pi * turns)
    down = v + (heart[1] + 0.08 - v) * turns - 0.22 * np.sin(math.pi * turns) * (1 - turns)
    draw.line(np.stack((across, down), axis=1), 0.018, strength)


def _leads(draw: Drawing, rng: np.random.Generator, strength: float) -> None:
    for _ in range(int(rng.integers(2, 5))):
        u, v = rng.uniform(-0.65, 0.65), rng.uniform(-0.55, 0.55)
        draw.disc((u, v), 0.035, strength)
        bend, end = rng.normal(0, 0.15), math.copysign(1.0, u)
        draw.line(((u, v), ((u + end) / 2, v + 0.2 + bend), (end, v + 0.5)), 0.014, strength * 0.8)


TRACES: dict[str, Trace] = {
    trace.__name__: trace
    for trace in (
        *(atelectasis, consolidation, devices, edema, effusion, emphysema, fibrosis, fracture, hernia),
        *(infiltration, mass, nodule, pleural_thickening, pneumonia, pneumothorax),
    )
}
"""How findings are drawn; cardiomegaly and wide_mediastinum change the anatomy alone."""
