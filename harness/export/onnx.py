"""Write a trained network as ONNX, and compare the file with torch.

The file takes gray images of 0 to 255; the normalisation is inside.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.augment.network_input import scale_and_shift
from datasets.errors import InputError
from harness.networks import Network

TOLERANCE = 1e-4
"""Largest difference of a probability, or of a logit relative to its size, that is taken for rounding."""
INPUT, OUTPUTS = "image", ("probability", "logit")
BATCHES = (1, 3, 8)
"""Batch sizes of the random images; the exported graph must take any."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class OnnxCheck:
    """What the comparison with torch found."""

    opset: int
    random_images: int
    real_images: int
    max_difference: float
    """Largest absolute difference of a probability."""
    max_logit_difference: float
    """Largest difference of a logit z over max(1, abs(z)), which a probability next to 0 or 1 would hide."""

    @property
    def passed(self) -> bool:
        """Whether the file says what the network says."""
        return max(self.max_difference, self.max_logit_difference) <= TOLERANCE


class FromPages(nn.Module):
    """The network behind its last preprocessing step, from gray images to probabilities and logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for name, values in zip(("scale", "shift"), scale_and_shift(torch.device("cpu")), strict=True):
            self.register_buffer(name, values.clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and logits (B, L) float32 of (B, 1, S, S) uint8."""
        logits = self.network(image.float() * self.scale + self.shift).logits
        return torch.sigmoid(logits), logits


def check_installed() -> None:
    """Refuse at once where the packages are missing.

    Raises:
        InputError: naming them and the command that installs them.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"an ONNX file needs {', '.join(missing)}: pip install 'cxr-harness[export]'; --no-onnx leaves it out"
        )


def write_onnx(network: Network, path: Path, *, size: int, labels: Sequence[str], facts: dict[str, Any]) -> int:
    """Write ``network``, on the CPU in eval mode, as ONNX; return the version of the operator set.

    Input ``image`` (batch, 1, SIZE, SIZE) uint8; outputs ``probability`` and ``logit`` (batch, labels) float32.
    Label names and ``facts`` are in the file's metadata.
    """
    example = torch.zeros((2, 1, size, size), dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            FromPages(network).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )
        assert program is not None, "torch gives a program back when it exports through dynamo"
        model = program.model
        model.metadata_props.update(
            {"labels": json.dumps(list(labels)), **{k: json.dumps(v) for k, v in facts.items()}}
        )
        program.save(str(path), external_data=False)
    return int(model.opset_imports[""])


def check_onnx(network: Network, path: Path, *, size: int, opset: int, real: np.ndarray) -> OnnxCheck:
    """Compare the file under onnxruntime with the network under torch.

    Args:
        network: on the CPU, in eval mode.
        path: the ONNX file.
        size: side of the pages.
        opset: for the answer.
        real: (R, 1, S, S) uint8 pages of images from the run's test split; R may be 0.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng, model = np.random.default_rng(0), FromPages(network).eval()
    batches = [rng.integers(0, 256, (count, 1, size, size), dtype=np.uint8) for count in BATCHES]
    worst = [0.0, 0.0]
    for pages in [*batches, *([real] if len(real) else [])]:
        with torch.inference_mode():
            expected = [values.numpy() for values in model(torch.from_numpy(pages))]
        found = session.run(list(OUTPUTS), {INPUT: pages})
        scales = (1.0, np.maximum(1.0, np.abs(expected[1])))
        for place, scale in enumerate(scales):
            difference = float((np.abs(found[place] - expected[place]) / scale).max())
            # A NaN must not pass for a small difference.
            worst[place] = max(worst[place], difference) if np.isfinite(difference) else float("inf")
    return OnnxCheck(
        opset=opset,
        random_images=sum(BATCHES),
        real_images=len(real),
        max_difference=worst[0],
        max_logit_difference=worst[1],
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress on standard output and its warnings of its own parts."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
