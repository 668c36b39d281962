"""The contenders of the loader benchmark, and the ratios between them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.common.pictures import Pictures

ROOT = Path(__file__).resolve().parents[2]
BENCH_VENV = ROOT / ".venv-bench"
BENCH_PYTHON = BENCH_VENV / "bin" / "python"
"""Made by ``benchmarks/setup`` for peers whose requirements contradict the project's."""
FFMPEG = BENCH_VENV / "ffmpeg" / "lib"
"""FFmpeg's libraries, where the system has none."""

FLOAT32 = "float32, 3 channels, augmented"
AUGMENTED = "uint8 gray, augmented"
PAGES = "uint8 gray pages"
DECODED = "uint8, decoded from JPEG"
DEVICE = "float32, 3 channels, augmented, on the GPU"


@dataclass(frozen=True)
class Contender:
    """One way to load the pictures."""

    name: str
    title: str
    """For people, in table and chart."""
    output: str
    peer: str
    """Module below ``benchmarks.peers``; its ``batches`` delivers the pictures."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further arguments of ``batches``."""
    needs: Literal["png", "jpeg", "beton", "jpeg_beton"] = "jpeg"
    package: str | None = None
    """Import name of what is not among the project's own requirements."""
    own_python: bool = True
    """False for a peer that lives in ``.venv-bench``."""

    @property
    def ours(self) -> bool:
        return self.title.startswith("ours")

    @property
    def command(self) -> list[str]:
        """Its process, but for the file of pictures."""
        python = sys.executable if self.own_python else str(BENCH_PYTHON)
        return [python, "-m", "benchmarks.common.worker", f"benchmarks.peers.{self.peer}", json.dumps(self.options)]

    def missing(self, pictures: Pictures, *, gpu: bool) -> str | None:
        """Why it cannot run here, or None."""
        if self.output == DEVICE and not gpu:
            return "needs a CUDA device"
        if not getattr(pictures, self.needs):
            return f"there is no {self.needs.replace('_', ' ')}"
        installed = BENCH_PYTHON.exists() if not self.own_python else self.package is None or _is_there(self.package)
        return None if installed else "not installed; benchmarks/setup does it"


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def environment() -> dict[str, str]:
    """Environment variables of a contender's process."""
    libraries = [*filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")), str(FFMPEG)]
    found = {"LD_LIBRARY_PATH": ":".join(libraries)} if FFMPEG.is_dir() else {}
    return {**os.environ, **found, "PYTHONPATH": str(ROOT)}


def _ours(name: str, title: str, output: str, tier: str, **options: str) -> Contender:
    needs: Literal["beton", "jpeg_beton"] = "jpeg_beton" if tier == "jpeg" else "beton"
    return Contender(name, f"ours, {title}", output, "ours", {"tier": tier, **options}, needs)


_SAMPLES, _BATCHES = "careful OpenCV DataLoader, by sample", "careful OpenCV DataLoader, by batch"
_AROUND_OPENCV, _SPDL, _DALI = "SPDL's threads around OpenCV", "spdl", "nvidia.dali"
LOADERS = (
    _ours("raw_float32", "raw stream", FLOAT32, "raw", device="cpu"),
    Contender("torch_png", "torch DataLoader, Pillow, original PNG", FLOAT32, "torch_files", {"form": "png"}, "png"),
    Contender("torch_jpeg", "torch DataLoader, Pillow, JPEG", FLOAT32, "torch_files", {"form": "jpeg"}),
    Contender("torchvision_jpeg", "torch DataLoader, torchvision.io, v2", FLOAT32, "torch_files", {"form": "tensor"}),
    Contender("opencv_samples_float32", _SAMPLES, FLOAT32, "opencv", {"output": "float32", "by": "sample"}),
    Contender("opencv_batches_float32", _BATCHES, FLOAT32, "opencv", {"output": "float32", "by": "batch"}),
    Contender("opencv_pages", "careful threads, OpenCV, raw pages", FLOAT32, "raw_pages", {"by": "opencv"}, "beton"),
    Contender("spdl", "SPDL, FFmpeg filters", FLOAT32, "spdl_threads", {"pixels": "ffmpeg"}, package=_SPDL),
    Contender("spdl_opencv", _AROUND_OPENCV, FLOAT32, "spdl_threads", {"pixels": "opencv"}, package=_SPDL),
    Contender("dali_cpu_rgb", "DALI CPU, RGB", FLOAT32, "dali", {"device": "cpu", "colour": "RGB"}, package=_DALI),
    Contender("dali_cpu_gray", "DALI CPU, gray", FLOAT32, "dali", {"device": "cpu", "colour": "GRAY"}, package=_DALI),
    Contender("webdataset", "WebDataset, OpenCV", FLOAT32, "webdataset_tar", package="webdataset"),
    Contender("mosaic", "MosaicML Streaming, OpenCV", FLOAT32, "mosaic_streaming", own_python=False),
    _ours("raw_uint8", "raw stream", AUGMENTED, "raw", augment="yes"),
    _ours("jpeg_uint8", "JPEG stream", AUGMENTED, "jpeg", augment="yes"),
    Contender("opencv_samples_uint8", _SAMPLES, AUGMENTED, "opencv", {"output": "uint8", "by": "sample"}),
    Contender("opencv_batches_uint8", _BATCHES, AUGMENTED, "opencv", {"output": "uint8", "by": "batch"}),
    _ours("raw_pages", "raw stream", PAGES, "raw"),
    _ours("resident_pages", "resident in host memory", PAGES, "resident"),
    Contender("memcpy", "memcpy by the same threads", PAGES, "raw_pages", {"by": "memcpy"}, "beton"),
    _ours("jpeg_pages", "JPEG stream, gray", DECODED, "jpeg"),
    Contender("ffcv_rgb", "FFCV's own RGB JPEG decoder", DECODED, "ffcv_rgb"),
    _ours("raw_device", "raw stream", DEVICE, "raw", device="cuda"),
    _ours("jpeg_device", "JPEG stream", DEVICE, "jpeg", device="cuda"),
    _ours("resident_device", "resident", DEVICE, "resident", device="cuda"),
    Contender("dali_gpu_rgb", "DALI GPU, RGB", DEVICE, "dali", {"device": "gpu", "colour": "RGB"}, package=_DALI),
    Contender("dali_gpu_gray", "DALI GPU, gray", DEVICE, "dali", {"device": "gpu", "colour": "GRAY"}, package=_DALI),
)


class Ratio(NamedTuple):
    """Ours over the fastest of the others."""

    ours: str
    others: tuple[str, ...]
    least: float
    """What it must reach."""
    aim: float


_OPENCV_UINT8 = ("opencv_samples_uint8", "opencv_batches_uint8")
LOADER_RATIOS = {
    "float32_over_torch_jpeg": Ratio("raw_float32", ("torch_jpeg",), 12, 20),
    "float32_over_opencv_raw_pages": Ratio("raw_float32", ("opencv_pages",), 2.5, 4),
    "float32_over_opencv": Ratio("raw_float32", ("opencv_samples_float32", "opencv_batches_float32"), 4, 6),
    "float32_over_spdl": Ratio("raw_float32", ("spdl", "spdl_opencv"), 4, 6),
    "float32_over_dali_cpu": Ratio("raw_float32", ("dali_cpu_rgb",), 15, 25),
    "float32_over_torch_png": Ratio("raw_float32", ("torch_png",), 60, 100),
    "uint8_augmented_over_opencv": Ratio("raw_uint8", _OPENCV_UINT8, 4, 6),
    "uint8_pages_over_opencv": Ratio("raw_pages", _OPENCV_UINT8, 20, 40),
    "uint8_over_memcpy": Ratio("raw_pages", ("memcpy",), 0.3, 0.7),
    "resident_over_raw": Ratio("resident_pages", ("raw_pages",), 1.5, 4),
    "jpeg_decode_over_ffcv_rgb": Ratio("jpeg_pages", ("ffcv_rgb",), 1.2, 2),
}
