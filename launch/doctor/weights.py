"""Files of weights come in; whether they are what runs expect goes out as findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.errors import InputError
from launch.doctor.finding import Finding, fail, ok


def check_weights(imagenet: Path | None, xrv: Iterable[Path]) -> Iterator[Finding]:
    """torchvision's ImageNet file and torchxrayvision's, as far as they were given."""
    from harness.weights.imagenet import read_imagenet
    from harness.weights.xrv import xrv_hash

    if imagenet is not None:
        try:
            yield ok("imagenet weights", read_imagenet(imagenet).origin)
        except InputError as error:
            yield fail("imagenet weights", str(error), "fetch torchvision's densenet121 file again")
    for path in xrv:
        try:
            yield ok("xrv weights", f"{path}: a torchxrayvision DenseNet-121, sha256 = {xrv_hash(path)}")
        except InputError as error:
            yield fail("xrv weights", str(error), "give a file of torchxrayvision's densenet121-res224 weights")
