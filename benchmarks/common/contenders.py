"""The contenders of the loader benchmark, and the ratios between them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.common.pictures import Pictures

ROOT = Path(__file__).resolve().parents[2]
BENCH_VENV = ROOT / ".venv-bench"
BENCH_PYTHON = BENCH_VENV / "bin" / "python"
"""Made by ``benchmarks/setup`` for peers whose requirements contradict the project's."""
FFMPEG = BENCH_VENV / "ffmpeg" / "lib"
"""FFmpeg's libraries, where the system has none."""

FLOAT32 = "float32, 3 channels, augmented"
FLOAT32_FLIPPED = "float32, 3 channels, flipped"
FLOAT32_PLAIN = "float32, 3 channels, not augmented"
AUGMENTED = "uint8 gray, augmented"
FLIPPED = "uint8 gray pages, flipped"
PAGES = "uint8 gray pages"
DECODED = "uint8, decoded from JPEG"
DEVICE = "float32, 3 channels, augmented, on the GPU"
"""Augmented is flipped and rotated; float32 is normalised."""

FAST_DCT = "other pixels: decoded by libjpeg-turbo's fast, less exact DCT"
FFMPEG_EDGE = "other pixels: FFmpeg's rotation does not blend the edge of the image with the black around it"
READS = {"png": "original PNG", "jpeg": "JPEG", "beton": "raw pages", "jpeg_beton": "JPEG"}


@dataclass(frozen=True)
class Contender:
    """One way to load the pictures."""

    name: str
    title: str
    """For people, in table and chart."""
    output: str
    """What is done: the form in which the batches come."""
    peer: str
    """Module below ``benchmarks.peers``; its ``batches`` delivers the pictures."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further arguments of ``batches``."""
    needs: Literal["png", "jpeg", "beton", "jpeg_beton"] = "jpeg"
    own_files: str = ""
    """What its process writes and reads in place of those, as a pattern below ``Pictures.folder``."""
    read_as: str = ""
    """What that holds, where it is not the same as what it was made of."""
    workers: Literal["threads", "processes"] = "processes"
    package: str | None = None
    """Import name of what is not among the project's own requirements."""
    own_python: bool = True
    """False for a peer that lives in ``.venv-bench``."""
    other_pixels: str = ""
    """Why its pixels are not those of the others, which keeps it out of the ratios of the same work."""

    @property
    def ours(self) -> bool:
        return self.title.startswith("ours")

    @property
    def centred(self) -> bool:
        """Whether its range of angles has 0 in its middle, whatever ``Pictures.angles`` are."""
        return self.ours or self.peer == "turbo"

    @property
    def reads(self) -> str:
        """What is read: contenders that read alike and whose output is the same do the same work."""
        return self.read_as or READS[self.needs]

    @property
    def command(self) -> list[str]:
        """Its process, but for the file of pictures."""
        python = sys.executable if self.own_python else str(BENCH_PYTHON)
        return [python, "-m", "benchmarks.common.worker", f"benchmarks.peers.{self.peer}", json.dumps(self.options)]

    def bytes_per_image(self, pictures: Pictures) -> float:
        """What it has on disk for each image that it reads; for after its start, when its own files are there."""
        found: Sequence[str | Path] | str = getattr(pictures, self.needs)
        if self.own_files:
            found = list(Path(pictures.folder).glob(self.own_files))
        files = [found] if isinstance(found, str) else found
        images = len(pictures.jpeg) if self.own_files or isinstance(found, str) else len(files)
        return sum(Path(file).stat().st_size for file in files) / images

    def missing(self, pictures: Pictures, *, gpu: bool) -> str | None:
        """Why it cannot run here, or None."""
        if self.output == DEVICE and not gpu:
            return "needs a CUDA device"
        if not getattr(pictures, self.needs):
            return f"there is no {self.needs.replace('_', ' ')}"
        return None if self.installed else "not installed; benchmarks/setup does it"

    @property
    def installed(self) -> bool:
        """Whether its package is there, in the environment that it runs in."""
        if not self.own_python:
            return any(BENCH_VENV.glob(f"lib/python*/site-packages/{self.package}"))
        try:
            return self.package is None or importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:
            return False


def environment() -> dict[str, str]:
    """Environment variables of a contender's process."""
    libraries = [*filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")), str(FFMPEG)]
    found = {"LD_LIBRARY_PATH": ":".join(libraries)} if FFMPEG.is_dir() else {}
    return {**os.environ, **found, "PYTHONPATH": str(ROOT)}


def _ours(name: str, title: str, output: str, tier: str, **options: str) -> Contender:
    needs: Literal["beton", "jpeg_beton"] = "jpeg_beton" if tier == "jpeg" else "beton"
    return Contender(name, f"ours, {title}", output, "ours", {"tier": tier, **options}, needs, workers="threads")


def _pages(name: str, title: str, output: str, by: str, **more: Any) -> Contender:
    options = {"by": by, **more.pop("options", {})}
    return Contender(name, title, output, "raw_pages", options, "beton", workers="threads", **more)


def _decoder(by: str, title: str, output: str = DECODED) -> Contender:
    options = {"by": by, "output": "uint8" if output == DECODED else "float32"}
    name = f"{by}_{options['output']}"
    return Contender(name, title, output, "jpeg_threads", options, own_files="jpegs.bin", workers="threads")


def _turbo(by: str, title: str, output: str) -> Contender:
    files, read = ("turbo-raw.tbl", "raw RGB pages") if by == "raw" else (f"turbo-{by}.tar", "")
    more: dict[str, Any] = {"package": "turboloader", "own_python": False, "workers": "threads"}
    more["other_pixels"] = FAST_DCT
    return Contender(f"turbo_{by}", title, output, "turbo", {"by": by}, "jpeg", files, read, **more)


def _grain(by: Literal["threads", "processes"]) -> Contender:
    more: dict[str, Any] = {"package": "grain", "own_python": False, "workers": by}
    files = f"grain-{by}.array_record"
    return Contender(
        f"grain_{by}", f"Grain's {by}, OpenCV", FLOAT32, "grain_records", {"by": by}, "jpeg", files, **more
    )


def _spdl(name: str, title: str, pixels: str, **more: Any) -> Contender:
    options = {"pixels": pixels}
    return Contender(name, title, FLOAT32, "spdl_threads", options, package="spdl", workers="threads", **more)


def _dali(device: str, colour: str) -> Contender:
    name, title = f"dali_{device}_{colour.lower()}", f"DALI {device.upper()}, {colour if colour == 'RGB' else 'gray'}"
    options, output = {"device": device, "colour": colour}, FLOAT32 if device == "cpu" else DEVICE
    return Contender(name, title, output, "dali", options, package="nvidia.dali", workers="threads")


_UINT8 = {"output": "uint8"}
_SAMPLES, _BATCHES = "careful OpenCV DataLoader, by sample", "careful OpenCV DataLoader, by batch"
LOADERS = (
    _ours("raw_float32", "raw stream", FLOAT32, "raw", augment="all", device="cpu"),
    _ours("jpeg_float32", "JPEG stream", FLOAT32, "jpeg", augment="all", device="cpu"),
    _pages("opencv_pages", "careful threads, OpenCV, raw pages", FLOAT32, "opencv"),
    _pages(
        "spdl_pages",
        "SPDL's threads around OpenCV, raw pages",
        FLOAT32,
        "opencv",
        options={"pool": "spdl"},
        package="spdl",
    ),
    Contender("torch_png", "torch DataLoader, Pillow, original PNG", FLOAT32, "torch_files", {"form": "png"}, "png"),
    Contender("torch_jpeg", "torch DataLoader, Pillow, JPEG", FLOAT32, "torch_files", {"form": "jpeg"}),
    Contender("torchvision_jpeg", "torch DataLoader, torchvision.io, v2", FLOAT32, "torch_files", {"form": "tensor"}),
    Contender("opencv_samples_float32", _SAMPLES, FLOAT32, "opencv", {"output": "float32", "by": "sample"}),
    Contender("opencv_batches_float32", _BATCHES, FLOAT32, "opencv", {"output": "float32", "by": "batch"}),
    _decoder("simplejpeg", "careful threads, simplejpeg and OpenCV", FLOAT32),
    _spdl("spdl", "SPDL, FFmpeg filters", "ffmpeg", other_pixels=FFMPEG_EDGE),
    _spdl("spdl_opencv", "SPDL's threads around OpenCV", "opencv"),
    _dali("cpu", "RGB"),
    _dali("cpu", "GRAY"),
    Contender(
        "webdataset", "WebDataset, OpenCV", FLOAT32, "webdataset_tar", {}, "jpeg", "*.tar", package="webdataset"
    ),
    Contender(
        *("mosaic", "MosaicML Streaming, OpenCV", FLOAT32, "mosaic_streaming", {}, "jpeg", "mds/*"),
        package="streaming",
        own_python=False,
    ),
    Contender(
        *("litdata", "LitData, OpenCV", FLOAT32, "lit_chunks", {}, "jpeg", "litdata/*.bin"),
        package="litdata",
        own_python=False,
    ),
    _grain("threads"),
    _grain("processes"),
    _turbo("transforms", "TurboLoader, its transforms", FLOAT32),
    _turbo("fused", "TurboLoader, which cannot rotate so fast", FLOAT32_PLAIN),
    _ours("raw_flipped_float32", "raw stream", FLOAT32_FLIPPED, "raw", augment="flip", device="cpu"),
    _turbo("raw", "TurboLoader, raw RGB pages", FLOAT32_FLIPPED),
    _ours("raw_uint8", "raw stream", AUGMENTED, "raw", augment="all"),
    _ours("jpeg_uint8", "JPEG stream", AUGMENTED, "jpeg", augment="all"),
    _pages("opencv_pages_uint8", "careful threads, OpenCV, raw pages", AUGMENTED, "opencv", options=_UINT8),
    Contender("opencv_samples_uint8", _SAMPLES, AUGMENTED, "opencv", {"output": "uint8", "by": "sample"}),
    Contender("opencv_batches_uint8", _BATCHES, AUGMENTED, "opencv", {"output": "uint8", "by": "batch"}),
    _ours("raw_flipped", "raw stream", FLIPPED, "raw", augment="flip"),
    Contender(
        *("ffcv_pages", "FFCV's own loader and flip", FLIPPED, "ffcv_stock", {"form": "pages"}, "beton"),
        own_files="ffcv-pages.beton",
        workers="threads",
    ),
    _ours("raw_pages", "raw stream", PAGES, "raw"),
    _ours("resident_pages", "resident in host memory", PAGES, "resident"),
    _pages("memcpy", "memcpy by the same threads", PAGES, "memcpy"),
    _ours("jpeg_pages", "JPEG stream, gray", DECODED, "jpeg"),
    _decoder("simplejpeg", "careful threads, simplejpeg"),
    _decoder("kornia", "careful threads, kornia-rs"),
    _decoder("opencv", "careful threads, OpenCV"),
    _decoder("torchcodec", "careful threads, torchcodec"),
    Contender(
        *("ffcv_rgb", "FFCV's own RGB JPEG decoder", DECODED, "ffcv_stock", {"form": "rgb"}),
        own_files="ffcv-rgb.beton",
        read_as="RGB JPEG",
        workers="threads",
        other_pixels=FAST_DCT,
    ),
    _ours("raw_device", "raw stream", DEVICE, "raw", augment="all", device="cuda"),
    _ours("jpeg_device", "JPEG stream", DEVICE, "jpeg", augment="all", device="cuda"),
    _ours("resident_device", "resident", DEVICE, "resident", augment="all", device="cuda"),
    _dali("gpu", "RGB"),
    _dali("gpu", "GRAY"),
)

OTHER_PIXELS = {one.name: one.other_pixels for one in LOADERS if one.other_pixels}
"""Why, by name."""


class Ratio(NamedTuple):
    """Ours over the fastest of the others."""

    ours: str
    others: tuple[str, ...]
    least: float
    """What it must reach."""
    aim: float

    def same_work(self, contenders: Sequence[Contender]) -> bool:
        """Whether all read the same and make the same pixels; else each is set up as its users would."""
        named = [one for one in contenders if one.name in (self.ours, *self.others)]
        return len({(one.reads, one.output) for one in named}) == 1 and not any(one.other_pixels for one in named)


_OPENCV_UINT8 = ("opencv_samples_uint8", "opencv_batches_uint8")
_FROM_JPEG = (
    *("opencv_samples_float32", "opencv_batches_float32", "simplejpeg_float32", "spdl_opencv", "dali_cpu_gray"),
    *("torch_jpeg", "torchvision_jpeg", "webdataset", "mosaic", "litdata", "grain_threads", "grain_processes"),
)
_DECODERS = ("simplejpeg_uint8", "kornia_uint8", "opencv_uint8", "torchcodec_uint8")
LOADER_RATIOS = {
    "float32_over_opencv_raw_pages": Ratio("raw_float32", ("opencv_pages",), 2.5, 4),
    "float32_over_spdl_raw_pages": Ratio("raw_float32", ("spdl_pages",), 2.5, 4),
    "uint8_over_opencv_raw_pages": Ratio("raw_uint8", ("opencv_pages_uint8",), 2.5, 4),
    "flips_over_ffcv": Ratio("raw_flipped", ("ffcv_pages",), 2, 4),
    "jpeg_float32_over_fastest": Ratio("jpeg_float32", _FROM_JPEG, 1, 1.5),
    "jpeg_uint8_over_opencv": Ratio("jpeg_uint8", _OPENCV_UINT8, 1, 1.5),
    "jpeg_decode_over_fastest": Ratio("jpeg_pages", _DECODERS, 1, 1.2),
    "uint8_over_memcpy": Ratio("raw_pages", ("memcpy",), 0.3, 0.7),
    "resident_over_raw": Ratio("resident_pages", ("raw_pages",), 1.5, 4),
    "float32_over_torch_jpeg": Ratio("raw_float32", ("torch_jpeg",), 12, 20),
    "float32_over_opencv": Ratio("raw_float32", ("opencv_samples_float32", "opencv_batches_float32"), 4, 6),
    "float32_over_spdl": Ratio("raw_float32", ("spdl", "spdl_opencv"), 4, 6),
    "float32_over_dali_cpu": Ratio("raw_float32", ("dali_cpu_rgb",), 15, 25),
    "float32_over_torch_png": Ratio("raw_float32", ("torch_png",), 60, 100),
    "uint8_augmented_over_opencv": Ratio("raw_uint8", _OPENCV_UINT8, 4, 6),
    "uint8_pages_over_opencv": Ratio("raw_pages", _OPENCV_UINT8, 20, 40),
    "jpeg_decode_over_ffcv_rgb": Ratio("jpeg_pages", ("ffcv_rgb",), 1.2, 2),
}
