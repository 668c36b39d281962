"""``cxr bench all``: every benchmark of the results page, or in minutes what this machine's loader can feed."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.settings import check_names
from benchmarks.page.write import write_measured, write_page
from benchmarks.whole.feeds import feeds
from datasets.errors import InputError
from datasets.files import read_json
from datasets.loading.threads import usable_cores

MINUTES = {
    "loader": 14,
    "convert": 16,
    "scaling": 5,
    "result": 4,
    "first_batch": 2,
    "step": 18,
    "node": 30,
    "grid": 2,
}
"""About how long each takes on two cores; its name is that of its JSON file."""
WITHOUT_IMAGES = ("node", "grid")
GPU_ONLY = ("node",)
QUICK_SIZE, QUICK_BATCH, QUICK_SAMPLES, QUICK_ROUNDS = 256, 64, 4096, 2


@dataclass(frozen=True, kw_only=True)
class BenchAll:
    """Run every benchmark of the results page, write the page, and say how many GPUs this machine's loader can feed.

    Each benchmark's figures are whole when it ends, so that Ctrl-C loses the running one alone; --only goes on.

    For example:
        cxr bench all --quick
        cxr bench all --images data/pngs --out benchmarks
    """

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it."""
    out: Path | None = None
    """Folder of the page and of all JSON files; with --quick verdict.json alone is written there."""
    quick: bool = False
    """In five minutes, measure the loader and the disk alone, and say how many GPUs they can feed."""
    only: tuple[str, ...] = ()
    """Of loader, convert, scaling, result, first_batch, step, node and grid; default: all, node on a GPU alone."""

    def run(self) -> None:
        check_names("--only", self.only, MINUTES, "benchmark")
        if self.quick and self.only:
            raise InputError("--only: chooses among the benchmarks that --quick leaves out; give one of the two")
        if self.quick:
            self._tell(self._quick())
            return
        if self.out is None:
            raise InputError("--out: name the folder of the page, or give --quick")
        self.out.mkdir(parents=True, exist_ok=True)
        failed = [name for name in self._chosen() if not self._measured(name, self.out)]
        if (self.out / "scaling.json").is_file():
            self._tell(read_json(self.out / "scaling.json"))
        print(f"written: {write_page(self.out)}", file=sys.stderr)
        if failed:
            raise InputError(f"failed, as is told above: {', '.join(failed)}; --only {' '.join(failed)} tries again")

    def _quick(self) -> dict[str, Any]:
        from benchmarks.scaling.bench import BenchScaling

        shape: dict[str, Any] = {"sizes": (QUICK_SIZE,), "batch_sizes": (QUICK_BATCH,), "samples": QUICK_SAMPLES}
        return BenchScaling(images=self.images, rounds=QUICK_ROUNDS, workers=(usable_cores(),), **shape).measure()

    def _tell(self, scaling: dict[str, Any]) -> None:
        """Print the verdict and the GPUs by network and method, and write verdict.json."""
        found = feeds(scaling)
        for row in found["rows"]:
            said = "  ".join(f"{name} {row[name]:>8.1f}" for name in found["rates"])
            print(f"{row['title']:<40}{row['images_per_s']:>8,.0f} images/s {row['rate_is']}; GPUs fed: {said}")
        print(found["verdict"])
        if self.out is not None:
            environment = {**scaling["environment"], "kind": "verdict"}
            write_measured(self.out / "verdict.json", {"environment": environment, **found}, tell=True)

    def _chosen(self) -> list[str]:
        """The benchmarks to run, in the order of ``MINUTES``."""
        from benchmarks.common.environment import gpu_name

        if self.only:
            return [name for name in MINUTES if name in self.only]
        return [name for name in MINUTES if name not in GPU_ONLY or gpu_name() is not None]

    def _measured(self, name: str, out: Path) -> bool:
        """Run one benchmark as a command of its own, which its figures name; whether it ended well."""
        print(f"== {name}: about {MINUTES[name]} minutes on two cores", file=sys.stderr, flush=True)
        started = time.monotonic()
        with subprocess.Popen(self._command(name, out), stdout=subprocess.DEVNULL) as process:
            try:
                status = process.wait()
            finally:
                process.wait()  # after Ctrl-C it ends by itself, and not behind our back
        if status in (130, -2):
            raise KeyboardInterrupt
        minutes = (time.monotonic() - started) / 60
        how = "done" if status == 0 else f"failed with {status}"
        print(f"== {name}: {how} after {minutes:.1f} minutes", file=sys.stderr, flush=True)
        return status == 0

    def _command(self, name: str, out: Path) -> list[str]:
        images = ["--images", str(self.images)] if self.images is not None and name not in WITHOUT_IMAGES else []
        return [sys.executable, "-m", "launch.cli", "bench", name.replace("_", "-"), *images, "--out", str(out)]
