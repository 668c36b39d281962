"""What findings around the lung look like: a scene and a finding enter, the scene's fields are changed in place."""

from __future__ import annotations

import math

import numpy as np

from datasets.phantom.canvas import Drawing, blob, clouds, ellipse, step
from datasets.phantom.findings import Case, Finding
from datasets.phantom.frontal import Break
from datasets.phantom.lung_traces import affected_lung
from datasets.phantom.scene import Point, Scene

_METAL = 0.42
"""Density of a device at full strength."""


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


def rib_breaks(case: Case) -> tuple[Break, ...]:
    """The broken ribs of a case: two to four neighbours, broken one below the other."""
    for finding in case:
        if finding.name == "fracture":
            rng = np.random.default_rng(finding.key)
            distance, first, s = rng.uniform(0.48, 0.62), int(rng.integers(-3, 0)), finding.severity
            return tuple(
                Break(
                    side=finding.side,
                    rib=first + number,
                    distance=distance + rng.normal(0, 0.015),
                    displacement=0.25 + 0.20 * s,
                    callus=3.2 + 3.0 * s,
                )
                for number in range(int(rng.integers(2, 5)))
            )
    return ()


def devices(scene: Scene, finding: Finding, rng: np.random.Generator) -> None:
    """One to three of: central line, breathing tube, pacemaker, leads; bright and sharp."""
    strength = 0.40 + 0.50 * finding.severity
    kinds = rng.permutation(4)[: int(rng.integers(1, 4))]
    draw = Drawing(scene.frame)
    side = finding.side
    for kind in kinds:
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
    heart_u, heart_v = heart
    turns = np.linspace(0, 1, 9)
    across = u + (heart_u + 0.06 - u) * turns - side * 0.10 * np.sin(math.pi * turns)
    down = v + (heart_v + 0.08 - v) * turns - 0.22 * np.sin(math.pi * turns) * (1 - turns)
    draw.line(np.stack((across, down), axis=1), 0.018, strength)


def _leads(draw: Drawing, rng: np.random.Generator, strength: float) -> None:
    for _ in range(int(rng.integers(2, 5))):
        u, v = rng.uniform(-0.65, 0.65), rng.uniform(-0.55, 0.55)
        draw.disc((u, v), 0.035, strength)
        bend, end = rng.normal(0, 0.15), math.copysign(1.0, u)
        draw.line(((u, v), ((u + end) / 2, v + 0.2 + bend), (end, v + 0.5)), 0.014, strength * 0.8)
