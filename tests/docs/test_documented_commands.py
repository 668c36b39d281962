"""Every command in the documents is run as it stands there, on small made-up data, in the order of its page.

What differs from the page: /data/ is a folder of the test, images are 64 pixels wide, runs are short, subsets small.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from hospital import write_hospital
from pages import PAGES, ROOT, Block, blocks, commands

SMALLER = (
    (re.compile(r"^(cxr convert (?!.*--size).*)$", re.MULTILINE), r"\1 --size 64"),
    (re.compile(r"^(dataset = .*)$", re.MULTILINE), r"\1\nimage_size = 64"),
    (re.compile(r'^data\.subset = \["200", "1k"\]', re.MULTILINE), 'data.subset = ["8", "16"]'),
    (re.compile(r"\btl_1k_r0\b"), "tl_16_r0"),
    (re.compile(r"^epochs = \d+", re.MULTILINE), "epochs = 1"),
    (re.compile(r'^subset = "\w+"', re.MULTILINE), 'subset = "16"'),
    (re.compile(r"^seeds = \[0, 1\]", re.MULTILINE), "seeds = [0]"),
    (re.compile(r"^seeds = 2", re.MULTILINE), "seeds = 1"),
)
ELSEWHERE = re.compile(r"^(make |git clone |sudo apt-get |source |pip |pre-commit )")
"""Commands that set the project up, or that continuous integration runs itself."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Tests share the cores: threads that wait for one another there take many times as long."""
ON_THE_CLUSTER = "export SLURM_CONF="
"""How a block begins that tests/launch/slurm runs, with a SLURM of its own."""


@pytest.fixture(scope="session")
def owners_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datasets as their owners would hand them out, and torchvision's file, all made up."""
    root = tmp_path_factory.mktemp("owners")
    run("cxr phantom . --patients 40 --size 64 --seed 3", root)
    sample = root / "sample"
    shutil.copytree(root / "ChestX-ray14", sample)
    (sample / "Data_Entry_2017_v2020.csv").rename(sample / "sample_labels.csv")
    write_hospital(root / "hospital", 124, 64)
    (root / "hospital" / "hospital.toml").unlink()
    torch.save(torchvision.models.densenet121(weights=None).state_dict(), root / "densenet121-a639ec97.pth")
    return root


@pytest.fixture(scope="session")
def converted(owners_data: Path) -> Path:
    """What the pages behind docs/data.md begin with: the betons that it makes."""
    first = next(block for block in blocks("docs/data.md") if "--out data/chexpert.beton" in block.text)
    run(smaller(first.text, owners_data), owners_data)
    return owners_data / "data"


def run(script: str, folder: Path) -> str:
    """Run shell commands that stop at the first failure; what they print."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"} | ONE_THREAD
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def smaller(text: str, owners_data: Path) -> str:
    for pattern, replacement in SMALLER:
        text = pattern.sub(replacement, text)
    return text.replace("/data/", f"{owners_data}/")


def test_every_block_says_what_it_is() -> None:
    """A block without a language would be run by nobody."""
    assert {block.language for page in PAGES for block in blocks(page)} <= {"sh", "toml", "python", "text", "mermaid"}
    indented = re.compile(r"^    (?:\.venv/bin/)?(?:cxr|make) ", re.MULTILINE)
    assert [page for page in PAGES if indented.search((ROOT / page).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
@pytest.mark.timeout(600)
def test_the_commands_of_a_page_run(page: str, owners_data: Path, converted: Path, tmp_path: Path) -> None:
    if page != "docs/data.md":
        shutil.copytree(converted, tmp_path / "data")
    ran = 0
    for block in blocks(page):
        if block.file is not None:
            write(tmp_path / block.file, smaller(block.text, owners_data))
        elif block.language == "sh" and not block.text.startswith(ON_THE_CLUSTER):
            ran += 1
            run(smaller(runnable(block), owners_data), tmp_path)
    assert ran > 0


def runnable(block: Block) -> str:
    return "".join(f"{line}\n" for line in block.text.splitlines() if not ELSEWHERE.match(line))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
