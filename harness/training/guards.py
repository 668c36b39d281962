"""Guard training steps against losses and gradients that are not finite, and explain running out of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn

from datasets.loading.balance import samples_of
from datasets.loading.batch import Batch
from harness.devices.accelerator import Accelerator

CHECK_EVERY = 50
"""Steps between two looks at the device for a loss that is not finite."""
NAMED_IMAGES = 64
"""Most images that an error names."""
_NEVER = 2**62
_CPU_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


class FiniteLosses:
    """Finds the first step whose loss is not finite, without waiting for the device at each step."""

    def __init__(self, accelerator: Accelerator, *, epoch: int) -> None:
        self._accelerator = accelerator
        self._epoch = epoch
        self._first_bad = torch.full((1,), _NEVER, dtype=torch.int64, device=accelerator.device)
        self._recent: deque[tuple[int, Tensor]] = deque(maxlen=CHECK_EVERY)

    def watch(self, step: int, batch: Batch, loss: Tensor) -> None:
        """Note whether the loss of the epoch's step ``step``, from 0, is finite; a collective call.

        Raises:
            FloatingPointError: when one of the steps since the last look was not.
        """
        bad = torch.where(torch.isfinite(loss.detach()), _NEVER, step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self._recent.append((step, batch.indices))
        if len(self._recent) == CHECK_EVERY:
            self.check()

    def check(self) -> None:
        """Look now; a collective call that waits for the device.

        Raises:
            FloatingPointError: naming the first step that was not finite, and its images by their index in the beton.
        """
        first = int(self._accelerator.gather(self._first_bad).min())
        if first == _NEVER:
            self._recent.clear()
            return
        own = [index for step, indices in self._recent if step == first for index in samples_of(indices).tolist()]
        images = sorted(gather_object(own))
        named = ", ".join(map(str, images[:NAMED_IMAGES])) + (", ..." if len(images) > NAMED_IMAGES else "")
        raise FloatingPointError(
            f"training diverged: the loss is not finite at step {first} of epoch {self._epoch} (both from 0), images "
            f"{named} of the beton; the last good checkpoint is kept; lower schedule.learning_rate, or leave such "
            "steps out with runtime.on_nonfinite = 'skip'"
        )


class BatchNormSnapshot:
    """Batch norm statistics of modules as they are now, to be put back after steps that shall leave no trace."""

    def __init__(self, *modules: nn.Module) -> None:
        self._buffers = [buffer for module in modules for buffer in module.buffers()]
        self._before = [buffer.clone() for buffer in self._buffers]

    def note(self) -> None:
        """Take them down anew."""
        for before, buffer in zip(self._before, self._buffers, strict=True):
            before.copy_(buffer)

    def restore(self) -> None:
        """Give the modules back what was noted."""
        for before, buffer in zip(self._before, self._buffers, strict=True):
            buffer.copy_(before)


def gradients_are_finite(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether every gradient is; it waits for the device.

    Gradients are means over all processes, so all of them get the same answer.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return bool(torch.isfinite(torch.stack(torch._foreach_norm(gradients, float("inf")))).all())


@contextmanager
def out_of_memory_as_memory_error(
    *, batch_size: int, num_processes: int, image_size: int, precision: str
) -> Iterator[None]:
    """Turn running out of memory into one line that says what was asked for and what to lower.

    Raises:
        MemoryError: in the place of torch's errors.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        cuda = isinstance(error, torch.OutOfMemoryError)
        if not cuda and not any(words in str(error) for words in _CPU_MEMORY):
            raise
        share = -(-batch_size // num_processes)
        cast = "" if precision != "fp32" else ", take --precision bf16"
        raise MemoryError(
            f"out of {'GPU' if cuda else 'main'} memory at a batch of {share} per process ({batch_size} over "
            f"{num_processes}), images of {image_size} px, {precision}: use more processes{cast}, or raise "
            "schedule.accumulate, or lower schedule.batch_size or data.image_size (which makes it another run)"
        ) from error
