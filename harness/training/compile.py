"""torch.compile for a student: a network and its batch size come in; a module with the same weights goes out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.networks import Network, NetworkOutput

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledNetwork(nn.Module):
    """Runs whole batches compiled, and all others, like the last one of an epoch, as they are.

    A batch of another size would be compiled anew, for minutes, to be of use once an epoch. The parameters are the
    network's own; its state dict stays the plain one, since it is the network that is saved.
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        super().__init__()
        self.network = network
        self.batch_size = batch_size
        keep_compiled_code()
        # In a tuple, so that it is no second submodule with the same parameters.
        self._compiled = (torch.compile(network, dynamic=False),)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits and attention planes of (B, 3, S, S) images."""
        output: NetworkOutput
        if self.training and len(images) == self.batch_size:
            output = self._compiled[0](images)
        else:
            output = self.network(images)
        return output


def keep_compiled_code() -> None:
    """Let compiled code outlive this process, in the user's cache folder, unless its place is chosen already.

    By default PyTorch keeps it in a temporary folder, which a cluster's job has for itself.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is None or _is_torchs_own(Path(chosen)):
        cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache")
        os.environ[CACHE_VARIABLE] = str(cache / "cxr-harness" / "inductor")


def _is_torchs_own(folder: Path) -> bool:
    """Whether PyTorch set the variable: it does so as soon as its compiler is imported, as torchvision does."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
