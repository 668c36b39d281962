"""What a process does not do before its first batch."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from small_beton import write_small_beton

from datasets.loading.threads import gc_paused

SCRIPT = """
import sys
from pathlib import Path
from datasets.beton.reader import Beton
from datasets.loading.options import LoaderOptions
from datasets.loading.tiers import open_tier

OTHERS = ("setuptools", "pyarrow.compute")  # which FFCV and pyarrow use for other things
options = LoaderOptions(batch_size=4, shuffle=True)
beton = Beton.open(Path(sys.argv[1]))
with open_tier(beton, beton.indices("train"), options, tier=sys.argv[2]).epoch(0) as batches:
    print(len(next(batches).images), sorted({"pandas", "sklearn", "matplotlib", *OTHERS} & set(sys.modules)))
"""


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_the_first_batch_comes_without_the_libraries_of_tables(tmp_path: Path, tier: str) -> None:
    beton = write_small_beton(tmp_path, 8)
    command = [sys.executable, "-c", SCRIPT, str(beton.path), tier]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "4 []\n"), done.stderr


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_put_back_as_it_was(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), gc_paused():
            assert not gc.isenabled()
            _ = 1 / 0
        assert gc.isenabled() is was_on
    finally:
        gc.enable()
