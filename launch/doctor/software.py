"""Check Python and the installed packages: missing, too old or shadowed ones."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from launch.doctor.finding import Finding, fail, ok, warn

DISTRIBUTION = "cxr-harness"
INSTALL = "in a checkout: make setup; elsewhere: pip install --upgrade {wanted}"
EXTRAS = {"dicom": "DICOM files", "export": "the ONNX file of cxr export"}
"""Optional packages that a command of ours uses, and what for."""
NEWEST_PYTHON = (3, 13)


def check_software() -> Iterator[Finding]:
    """Python, the required packages, the optional ones, and whether our package ``datasets`` is shadowed."""
    yield check_python(sys.version_info[:2], metadata(DISTRIBUTION)["Requires-Python"] or "")
    yield from check_packages(requires(DISTRIBUTION) or [])
    yield check_shadow()


def check_python(found: tuple[int, int], wanted: str) -> Finding:
    """The interpreter against ``requires-python``, and the newest that FFCV's writer works with."""
    text = f"Python {platform.python_version()}, {sys.executable}"
    if not SpecifierSet(wanted).contains(f"{found[0]}.{found[1]}"):
        return fail("python", f"{text}; expected {wanted}", "make the environment again with Python 3.11")
    if found > NEWEST_PYTHON:
        return warn("python", f"{text}; tested up to 3.13", "make the environment again with Python 3.11 to 3.13")
    return ok("python", text)


def check_packages(requirements: Iterable[str]) -> Iterator[Finding]:
    """Each requirement of pyproject.toml against what is installed."""
    found, problems = [], list[Finding]()
    for requirement in map(Requirement, requirements):
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", str(requirement.marker or ""))
        name = extra[1] if extra else ""
        if name and name not in EXTRAS:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": name}):
            problem = _check_package(requirement, name)
            found += [] if problem else [requirement.name]
            problems += [problem] if problem else []
    shown = [name for name in ("torch", "torchvision", "ffcv", "accelerate", "numba", "numpy") if name in found]
    versions = ", ".join(f"{name} {version(name)}" for name in shown)
    yield ok("packages", f"{len(found)} packages as pyproject.toml asks; {versions}")
    yield from problems


def _check_package(requirement: Requirement, extra: str) -> Finding | None:
    """What is wrong with a package; one that an extra asks for may be absent."""
    fix = INSTALL.format(wanted=f"'{requirement.name}{requirement.specifier}'")
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        what = f"{requirement.name} is not installed"
        if not extra:
            return fail("packages", what, fix)
        return warn("packages", f"{what}; {EXTRAS[extra]} need it", f"pip install '{DISTRIBUTION}[{extra}]'")
    if requirement.specifier.contains(found, prereleases=True):
        return None
    what = f"{requirement.name} {found} is installed; expected {requirement.specifier}"
    return (warn if extra else fail)("packages", what, fix)


def check_shadow() -> Finding:
    """Hugging Face's package is called ``datasets``, too."""
    import datasets

    place = Path(str(datasets.__file__)).parent
    expected = Path(__file__).resolve().parents[2] / "datasets"
    if place.resolve() != expected:
        what = f"the package 'datasets' is {place}, not this project's {expected}"
        return fail("packages", what, "pip uninstall datasets, or give this project an environment of its own")
    return ok("packages", f"the package 'datasets' is ours ({place})")
