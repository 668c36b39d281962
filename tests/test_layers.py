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
    "numba": {"datasets"},
    "cv2": {"datasets"},
    "accelerate": {"harness"},
    "submitit": {"launch"},
    "tyro": {"launch"},
    "jinja2": {"launch"},
}
MAX_FILES = 16


def imported_files(path: Path) -> set[Path]:
    """Files of this project that a file imports, at its top or within its functions; type checking counts too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            place = ROOT.joinpath(*name.split("."))
            found |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}
    return found - {path}


def circles(graph: dict[Path, set[Path]]) -> list[list[str]]:
    """Groups of files that reach each other."""
    reach = {start: _reached(graph, start) for start in graph}
    groups = {frozenset(other for other in reach[file] if file in reach[other]) for file in graph}
    short = [[str(file.relative_to(ROOT)) if file.is_absolute() else str(file) for file in group] for group in groups]
    return sorted(sorted(group) for group in short if len(group) > 1)


def _reached(graph: dict[Path, set[Path]], start: Path) -> set[Path]:
    found, front = set(), [start]
    while front:
        for file in graph.get(front.pop(), set()) - found:
            found.add(file)
            front.append(file)
    return found


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
        if package in ("tests", "benchmarks"):
            found.append(f"{path}:{line} {layer} imports {package}")
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    assert [problem for path in files for problem in violations(layer, path)] == []


def test_a_backward_import_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import launch.grids.grid\nfrom accelerate import Accelerator\nfrom benchmarks import commands\n")
    assert len(violations("datasets", bad)) == 3
    assert violations("launch", bad)[-1] == f"{bad}:3 launch imports benchmarks"


def test_no_files_import_each_other_in_a_circle() -> None:
    files = [path for layer in (*LAYERS, "benchmarks") for path in (ROOT / layer).rglob("*.py")]
    graph = {path: imported_files(path) for path in files}
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    a, b, c, d = (Path(f"{name}.py") for name in "abcd")
    assert circles({a: {b}, b: {c}, c: {a, d}, d: set()}) == [["a.py", "b.py", "c.py"]]


def test_no_folder_has_more_than_16_files() -> None:
    folders = {path.parent for folder in (*LAYERS, "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: count for name, count in counts.items() if count > MAX_FILES} == {}


@pytest.mark.parametrize(
    "module",
    [
        "harness.config",
        "harness.runs.folder",
        "launch.cli",
        "launch.cli.grid.plan",
        "launch.cli.report",
        "datasets.errors",
    ],
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
