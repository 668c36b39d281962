"""The contenders of the loader and conversion benchmarks, and the ratios between them."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.common.pictures import Pictures

ROOT = Path(__file__).resolve().parents[2]
BENCH_VENV = ROOT / ".venv-bench"
BENCH_PYTHON = BENCH_VENV / "bin" / "python"
"""Made by ``benchmarks/setup`` for peers whose requirements contradict the project's."""
FFMPEG = BENCH_VENV / "ffmpeg" / "lib"
"""FFmpeg's libraries, where the system has none."""

Form = Literal["png", "jpeg", "beton", "jpeg_beton"]

FLOAT32 = "float32, 3 channels, augmented"
AUGMENTED = "uint8 gray, augmented"
PAGES = "uint8 gray pages"
DECODED = "uint8, decoded from JPEG"
DEVICE = "float32, 3 channels, augmented, on the GPU"
FROM_PNG = "page from the original PNG"
FROM_LARGE = "page from a gray JPEG of 2544 x 3056"


@dataclass(frozen=True)
class Contender:
    """One way to load the pictures."""

    name: str
    title: str
    """For people, in table and chart."""
    output: str
    code: str
    """``module:function`` below ``benchmarks.peers``."""
    needs: Form = "jpeg"
    packages: tuple[str, ...] = ()
    """Import names of what is not among the project's own requirements."""
    own_python: bool = True
    """False for a peer that lives in ``.venv-bench``."""

    @property
    def ours(self) -> bool:
        return "ours" in self.code

    @property
    def command(self) -> list[str]:
        """Its process, but for the file of pictures."""
        module, function = self.code.split(":")
        python = sys.executable if self.own_python else str(BENCH_PYTHON)
        return [python, "-m", "benchmarks.common.worker", f"benchmarks.peers.{module}", function]

    def missing(self, pictures: Pictures, *, gpu: bool) -> str | None:
        """Why it cannot run here, or None."""
        if self.output == DEVICE and not gpu:
            return "needs a CUDA device"
        if not getattr(pictures, self.needs):
            return f"there is no {self.needs.replace('_', ' ')}"
        installed = all(map(_is_installed, self.packages)) if self.own_python else BENCH_PYTHON.exists()
        return None if installed else "not installed; benchmarks/setup does it"


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def environment() -> dict[str, str]:
    """Environment variables of a contender's process."""
    libraries = [*filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")), str(FFMPEG)]
    found = {"LD_LIBRARY_PATH": ":".join(libraries)} if FFMPEG.is_dir() else {}
    return {**os.environ, **found, "PYTHONPATH": str(ROOT)}


LOADERS = (
    Contender("raw_float32", "ours, raw stream", FLOAT32, "ours:raw_float32", "beton"),
    Contender("torch_png", "torch DataLoader, Pillow, original PNG", FLOAT32, "torch_pil:png", "png"),
    Contender("torch_jpeg", "torch DataLoader, Pillow, JPEG", FLOAT32, "torch_pil:jpeg"),
    Contender("torchvision_jpeg", "torch DataLoader, torchvision.io, v2", FLOAT32, "torch_io:jpeg"),
    Contender("opencv_samples_float32", "careful OpenCV DataLoader, by sample", FLOAT32, "opencv:float32_samples"),
    Contender("opencv_batches_float32", "careful OpenCV DataLoader, by batch", FLOAT32, "opencv:float32_batches"),
    Contender("opencv_pages", "careful threads, OpenCV, raw pages", FLOAT32, "opencv_pages:float32", "beton"),
    Contender("spdl", "SPDL, FFmpeg filters", FLOAT32, "spdl_threads:ffmpeg", packages=("spdl",)),
    Contender("spdl_opencv", "SPDL's threads around OpenCV", FLOAT32, "spdl_threads:opencv", packages=("spdl",)),
    Contender("dali_cpu_rgb", "DALI CPU, RGB", FLOAT32, "dali:cpu_rgb", packages=("nvidia.dali",)),
    Contender("dali_cpu_gray", "DALI CPU, gray", FLOAT32, "dali:cpu_gray", packages=("nvidia.dali",)),
    Contender("webdataset", "WebDataset, OpenCV", FLOAT32, "webdataset_tar:jpeg", packages=("webdataset",)),
    Contender("mosaic", "MosaicML Streaming, OpenCV", FLOAT32, "mosaic_streaming:jpeg", own_python=False),
    Contender("raw_uint8", "ours, raw stream", AUGMENTED, "ours:raw_uint8", "beton"),
    Contender("jpeg_uint8", "ours, JPEG stream", AUGMENTED, "ours:jpeg_uint8", "jpeg_beton"),
    Contender("opencv_samples_uint8", "careful OpenCV DataLoader, by sample", AUGMENTED, "opencv:uint8_samples"),
    Contender("opencv_batches_uint8", "careful OpenCV DataLoader, by batch", AUGMENTED, "opencv:uint8_batches"),
    Contender("raw_pages", "ours, raw stream", PAGES, "ours:raw_pages", "beton"),
    Contender("resident_pages", "ours, resident in host memory", PAGES, "ours:resident_pages", "beton"),
    Contender("memcpy", "memcpy by the same threads", PAGES, "memory_copy:pages", "beton"),
    Contender("jpeg_pages", "ours, JPEG stream, gray", DECODED, "ours:jpeg_pages", "jpeg_beton"),
    Contender("ffcv_rgb", "FFCV's own RGB JPEG decoder", DECODED, "ffcv_rgb:decode"),
    Contender("raw_device", "ours, raw stream", DEVICE, "ours:raw_device", "beton"),
    Contender("jpeg_device", "ours, JPEG stream", DEVICE, "ours:jpeg_device", "jpeg_beton"),
    Contender("resident_device", "ours, resident", DEVICE, "ours:resident_device", "beton"),
    Contender("dali_gpu_rgb", "DALI GPU, RGB", DEVICE, "dali:gpu_rgb", packages=("nvidia.dali",)),
    Contender("dali_gpu_gray", "DALI GPU, gray", DEVICE, "dali:gpu_gray", packages=("nvidia.dali",)),
)

CONVERTERS = (
    Contender("ours_png", "ours, all workers", FROM_PNG, "conversion:ours_png", "png"),
    Contender("pil_png", "one Pillow process", FROM_PNG, "conversion:pillow_png", "png"),
    Contender("ours_large_jpeg", "ours, all workers", FROM_LARGE, "conversion:ours_jpeg"),
    Contender("pil_large_jpeg", "one Pillow process", FROM_LARGE, "conversion:pillow_jpeg"),
)

Names = tuple[str, ...]

LOADER_RATIOS: dict[str, tuple[str, Names]] = {
    "float32_over_torch_jpeg": ("raw_float32", ("torch_jpeg",)),
    "float32_over_opencv_raw_pages": ("raw_float32", ("opencv_pages",)),
    "float32_over_opencv": ("raw_float32", ("opencv_samples_float32", "opencv_batches_float32")),
    "float32_over_spdl": ("raw_float32", ("spdl", "spdl_opencv")),
    "float32_over_dali_cpu": ("raw_float32", ("dali_cpu_rgb",)),
    "float32_over_torch_png": ("raw_float32", ("torch_png",)),
    "uint8_augmented_over_opencv": ("raw_uint8", ("opencv_samples_uint8", "opencv_batches_uint8")),
    "uint8_pages_over_opencv": ("raw_pages", ("opencv_samples_uint8", "opencv_batches_uint8")),
    "uint8_over_memcpy": ("raw_pages", ("memcpy",)),
    "resident_over_raw": ("resident_pages", ("raw_pages",)),
    "jpeg_decode_over_ffcv_rgb": ("jpeg_pages", ("ffcv_rgb",)),
}
"""Ours over the fastest of the others."""

CONVERT_RATIOS: dict[str, tuple[str, Names]] = {
    "png_over_pil": ("ours_png", ("pil_png",)),
    "large_jpeg_over_pil": ("ours_large_jpeg", ("pil_large_jpeg",)),
}

AIMS: dict[str, tuple[float, float]] = {
    "float32_over_torch_jpeg": (12, 20),
    "float32_over_opencv_raw_pages": (2.5, 4),
    "float32_over_opencv": (4, 6),
    "float32_over_spdl": (4, 6),
    "float32_over_dali_cpu": (15, 25),
    "float32_over_torch_png": (60, 100),
    "uint8_augmented_over_opencv": (4, 6),
    "uint8_pages_over_opencv": (20, 40),
    "uint8_over_memcpy": (0.3, 0.7),
    "resident_over_raw": (1.5, 4),
    "jpeg_decode_over_ffcv_rgb": (1.2, 2),
    "png_over_pil": (3, 4),
    "large_jpeg_over_pil": (3.5, 6),
}
"""For each ratio what it must reach at least, and what it aims at."""
