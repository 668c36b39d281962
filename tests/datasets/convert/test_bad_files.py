"""Every kind of file that a hospital's folder may hold: decoded right or refused with a reason, never a crash."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_kinds import dicom_bytes, dicom_dataset, dicom_file
from image_kinds import GRAY, PALETTE, RGBA, adam7, chunk, encode, picture, png, scanlines
from PIL import Image
from pydicom.uid import JPEGLosslessSV1
from small_dataset import image_path, read_dataset, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.verify import verify
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.images.resize import fit

SIZE = 32
PIXELS = picture(96, 80)
LARGE = picture(300, 280)
Outcome = str | np.ndarray
"""What the reason must begin with, or the pixels that must come out."""


def image(pixels: np.ndarray = PIXELS) -> Image.Image:
    return Image.fromarray(pixels)


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("L"))


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image(), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


PNG_FILE = encode(image(), "PNG")
LARGE_PNG = encode(image(LARGE), "PNG")
JPEG_FILE = encode(image(LARGE), "JPEG", quality=95)
PROGRESSIVE = encode(image(LARGE), "JPEG", quality=95, progressive=True)
CMYK = encode(Image.merge("CMYK", [image(255 - PIXELS)] * 3 + [image(PIXELS * 0)]), "JPEG", quality=95)
DICOM = dicom_file(PIXELS, WindowCenter="127.5", WindowWidth="255", VOILUTFunction="LINEAR_EXACT")


def good() -> Iterator[tuple[str, bytes, Outcome]]:
    sixteen = (PIXELS.astype(np.uint16) << 8) + 99
    alpha = image(np.full_like(PIXELS, 9))
    shades = chunk(b"PLTE", b"".join(bytes([255 - i, 0, i]) for i in range(256)))
    yield "gray png", PNG_FILE, PIXELS
    yield "large png", LARGE_PNG, LARGE
    yield "16 bit png", encode(Image.fromarray(sixteen), "PNG"), PIXELS
    yield "rgb png", encode(Image.merge("RGB", [image(), alpha, alpha]), "PNG"), PIXELS
    yield "rgba png", encode(Image.merge("RGBA", [image(), alpha, alpha, alpha]), "PNG"), PIXELS
    yield "gray and alpha png", encode(Image.merge("LA", [image(), alpha]), "PNG"), PIXELS
    yield "palette png", png(80, 96, 8, PALETTE, scanlines(255 - PIXELS), extra=shades), PIXELS
    yield "interlaced png", png(80, 96, 8, GRAY, adam7(PIXELS), interlaced=True), PIXELS
    yield "1 bit png", encode(image(np.uint8(PIXELS > 120) * 255).convert("1"), "PNG"), np.uint8(PIXELS > 120) * 255
    yield "turned png", turned("PNG", 3), PIXELS[::-1, ::-1]
    yield "png with bytes behind it", PNG_FILE + b"\0" * 99, PIXELS
    yield "gray jpeg", JPEG_FILE, decoded(JPEG_FILE)
    yield "progressive jpeg", PROGRESSIVE, decoded(PROGRESSIVE)
    yield "cmyk jpeg", CMYK, np.asarray(Image.open(io.BytesIO(CMYK)).convert("RGB"))[:, :, 0]
    yield "turned jpeg", turned("JPEG", 6), np.rot90(decoded(turned("JPEG", 1)), 3)
    yield "jpeg with bytes behind it", JPEG_FILE + b"garbage", decoded(JPEG_FILE)
    yield "dicom", DICOM, PIXELS
    inverted = dicom_dataset(255 - PIXELS, PhotometricInterpretation="MONOCHROME1", WindowCenter="127.5")
    inverted.WindowWidth, inverted.VOILUTFunction = "255", "LINEAR_EXACT"
    yield "dicom, inverted", dicom_bytes(inverted), PIXELS


def bad() -> Iterator[tuple[str, bytes, Outcome]]:
    yield "zero bytes", b"", "empty file"
    yield "one byte", b"\x89", "neither PNG, JPEG nor DICOM"
    yield "text", b"patient lost to follow-up\n", "neither PNG, JPEG nor DICOM"
    yield "zeros", bytes(5000), "neither PNG, JPEG nor DICOM"
    yield "noise", np.random.default_rng(3).bytes(5000), "neither PNG, JPEG nor DICOM"
    yield "web page", b"<!DOCTYPE html><html>404</html>", "neither PNG, JPEG nor DICOM but web page"
    yield "gzip", b"\x1f\x8b" + PNG_FILE, "neither PNG, JPEG nor DICOM but gzip"
    for kind in ("GIF", "BMP", "TIFF", "WebP"):
        yield kind, encode(image(), kind), f"neither PNG, JPEG nor DICOM but {kind}"
    for share in (0.02, 0.1, 0.35, 0.5, 0.75, 0.98):
        yield f"{share:.0%} of a png", PNG_FILE[: int(len(PNG_FILE) * share)], "truncated PNG"
        yield f"{share:.0%} of a large png", LARGE_PNG[: int(len(LARGE_PNG) * share)], "truncated PNG"
        yield f"{share:.0%} of a jpeg", JPEG_FILE[: int(len(JPEG_FILE) * share)], "damaged JPEG"
        yield f"{share:.0%} of a progressive jpeg", PROGRESSIVE[: int(len(PROGRESSIVE) * share)], "damaged JPEG"
    for name, data, _ in good():
        if name not in ("gray png", "large png", "gray jpeg", "progressive jpeg", "dicom, inverted", "dicom"):
            kind = "truncated PNG" if "png" in name else "damaged JPEG"
            yield f"half of: {name}", data[: len(data) // 2], kind
    for share in (0.3, 0.6, 0.99):
        yield f"{share:.0%} of a dicom", DICOM[: int(len(DICOM) * share)], "damaged DICOM"
    yield "png without its last byte", PNG_FILE[:-1], "truncated PNG"
    yield "png, a byte changed", flipped(PNG_FILE, len(PNG_FILE) // 2), "damaged PNG: chunk IDAT fails"
    yield "png header, a byte changed", flipped(PNG_FILE, 18), "damaged PNG: chunk IHDR fails"
    yield "png, rows missing", png(80, 96, 8, GRAY, scanlines(PIXELS[:50])), "damaged PNG: its pixels"
    yield "png, unknown filter", png(80, 96, 8, GRAY, b"\7" + scanlines(PIXELS)[1:]), "damaged PNG: its pixels"
    yield "png, depth 3", png(80, 96, 3, GRAY, scanlines(PIXELS)), "damaged PNG: its pixels"
    yield "png, no pixels", png(80, 96, 8, GRAY, b""), "damaged PNG: its pixels"
    yield "png of no width", png(0, 96, 8, GRAY, b""), "0 x 96 pixels"
    yield "png that claims terabytes", png(1 << 20, 1 << 20, 16, RGBA, b""), "1048576 x 1048576 pixels; at most"
    yield "png, a strip", png(2, 3000, 8, GRAY, bytes(9000)), "2 x 3000 pixels; one side"
    yield "png bomb", png(80, 96, 8, GRAY, bytes(50_000_000)), np.zeros((96, 80), np.uint8)
    yield "jpeg, a byte too few", JPEG_FILE[:-1], "damaged JPEG"
    yield "jpeg, zeros in the middle", JPEG_FILE[:9000] + bytes(400) + JPEG_FILE[9400:], "damaged JPEG"
    yield "jpeg of two bytes", b"\xff\xd8", "neither PNG, JPEG nor DICOM"
    yield "jpeg without pixels", b"\xff\xd8\xff\xd9", "0 x 0 pixels"
    yield "jpeg that claims 4 gigapixels", sized(JPEG_FILE, 65000, 65000), "65000 x 65000 pixels; at most"
    yield "dicom without pixels", bytes(128) + b"DICM", "DICOM without pixels"
    yield "dicom of films", dicom_file(PIXELS, NumberOfFrames=20), "DICOM of 20 frames"
    lossless = dicom_dataset(PIXELS)
    lossless.file_meta.TransferSyntaxUID, lossless["PixelData"].is_undefined_length = JPEGLosslessSV1, True
    lossless.PixelData = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\xd8\xff\xd9"
    yield "dicom, lossless jpeg", dicom_bytes(lossless), "0 x 0 pixels: a JPEG without a frame header"


def difference(page: np.ndarray, pixels: np.ndarray) -> int:
    """Gray levels; those of a large JPEG, which is decoded at a reduced scale, are 6 at most on this picture."""
    return int(np.abs(page.astype(int) - fit(np.ascontiguousarray(pixels), SIZE)).max())


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :]


def sized(jpeg: bytes, width: int, height: int) -> bytes:
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, bytes, Outcome]]:
    return [*good(), *bad()]


@pytest.fixture(scope="module")
def root(corpus: list[tuple[str, bytes, Outcome]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose images are these files, all named .png, and five that cannot even be opened."""
    root = write_dataset(tmp_path_factory.mktemp("nih"), len(corpus) + 3)
    for number, (_, data, _) in enumerate(corpus):
        image_path(root, number).write_bytes(data)
    folder, pipe, loop = (image_path(root, len(corpus) + i) for i in range(3))
    for path in (folder, pipe, loop):
        path.unlink()
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    return root


def test_there_are_enough_of_them(corpus: list[tuple[str, bytes, Outcome]]) -> None:
    assert sum(isinstance(outcome, str) for _, _, outcome in corpus) >= 40
    assert len({name for name, _, _ in corpus}) == len(corpus)


def test_each_is_decoded_right_or_refused_with_its_reason(
    corpus: list[tuple[str, bytes, Outcome]], root: Path, tmp_path: Path
) -> None:
    records, splits, ranks = read_dataset(root)
    started = time.monotonic()
    sidecar = convert(
        records, splits, ranks, tmp_path / "x.beton", ConvertOptions(size=SIZE, workers=2, max_rejects=1.0)
    )
    assert time.monotonic() - started < 60
    beton = Beton.open(tmp_path / "x.beton")
    reasons = {Path(reject["path"]).name: reject["reason"] for reject in sidecar.rejects}
    places = {Path(path).name: index for index, path in enumerate(beton.samples["path"])}
    wrong = []
    for number, (name, _, outcome) in enumerate(corpus):
        file = image_path(root, number).name
        if isinstance(outcome, str):
            if not reasons.get(file, "").startswith(outcome):
                wrong.append(f"{name}: {reasons.get(file, 'decoded')!r}, not {outcome!r}")
        elif file not in places:
            wrong.append(f"{name}: {reasons[file]!r}, but it can be decoded")
        elif difference(beton.page(places[file]), outcome) > (6 if outcome.shape == LARGE.shape else 1):
            wrong.append(f"{name}: other pixels")
    assert wrong == []
    assert len(reasons) + len(places) == len(corpus) + 3
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert verify(beton) == []


def test_the_limit_on_rejects_stops_at_once(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used so far, more than --max-rejects"):
        convert(*read_dataset(root), tmp_path / "x.beton", ConvertOptions(size=SIZE, workers=2))
