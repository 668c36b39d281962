"""The architecture as a test: datasets -> harness -> launch and never back; each heavy library in one layer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("datasets", "harness", "launch")
OWNERS = {
    "ffcv": {"datasets"},
    "numba": {"datasets", "harness"},
    "cv2": {"datasets"},
    "accelerate": {"harness"},
    "submitit": {"launch"},
    "tyro": {"launch"},
    "jinja2": {"launch"},
}
MAX_LINES = 300


def imported_packages(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; the layers are named in full"
            yield node.lineno, (node.module or "").split(".")[0]


def violations(layer: str, path: Path) -> list[str]:
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    found = []
    for line, package in imported_packages(path):
        if package in LAYERS and package not in allowed:
            found.append(f"{path}:{line} {layer} imports {package}")
        if package in OWNERS and layer not in OWNERS[package]:
            found.append(f"{path}:{line} {layer} imports {package}, which belongs to {OWNERS[package]}")
        if package == "tests" or (package == "benchmarks" and not path.match("launch/cli/bench*.py")):
            found.append(f"{path}:{line} {layer} imports {package}")
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    assert [problem for path in files for problem in violations(layer, path)] == []


def test_a_backward_import_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import launch.grid\nfrom accelerate import Accelerator\n")
    assert len(violations("datasets", bad)) == 2


def test_no_file_is_longer_than_300_lines() -> None:
    folders = (*LAYERS, "benchmarks", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize(
    "module",
    ["harness.config", "harness.run_folder", "launch.cli", "launch.cli.grid", "launch.cli.report", "datasets.errors"],
)
def test_light_modules_stay_light(module: str) -> None:
    """Planning and help must not wait for torch, ffcv or pandas."""
    heavy = ("torch", "ffcv", "numba", "pandas", "matplotlib", "accelerate", "sklearn")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_named_datasets_is_ours() -> None:
    import datasets

    assert Path(str(datasets.__file__)).parent == ROOT / "datasets"
