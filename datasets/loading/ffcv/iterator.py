"""One epoch in the background: a loader and an order come in, decoded batches or the producer's error go out.

FFCV's own iterator loses an error in its thread and then waits for ever, leaks the thread when a loop ends early, and
blocks when asked for more after the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.loading.ffcv.imports import EpochIterator
from datasets.loading.ffcv.ops import EpochState

POLL_S = 0.2
"""How often a waiting thread looks whether the other side is gone."""


class LoaderFailedError(RuntimeError):
    """Reading a batch failed in the loader's thread; the cause is chained."""


class SafeEpochIterator(EpochIterator):  # type: ignore[misc]
    """FFCV's producer thread with an end: every way out of it reaches the consumer, ``close`` always joins it."""

    def __init__(self, loader: Any, order: np.ndarray, epoch: int) -> None:
        self.epoch = epoch
        self.error: BaseException | None = None
        self.finished = False
        self._begun: deque[tuple[Any, list[Callable[[], None]]]] = deque()
        try:
            super().__init__(loader, order)
        except RuntimeError as error:  # how Python says that the system gave no thread
            raise LoaderFailedError(f"{loader.path}: cannot start reading: {error}") from error

    def run(self) -> None:
        """Decode batch after batch; runs in the producer thread, which FFCV's ``__init__`` starts."""
        state = self.storage_state = EpochState(self.memory_context.state, self.epoch)
        try:
            self._decode_all(state)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer must hear of it
            self.error = error
        self._let_go(state)
        self._offer(None)

    def _decode_all(self, state: EpochState) -> None:
        """Decode and hand over every batch.

        A batch is finished when the next one has been begun: so the helping threads have work while this one takes
        batches from one list to another, and need not wait for the last image of a batch.
        """
        slots = self.loader.batches_ahead + 2
        for number, indices in enumerate(self.iter_ixes):
            try:
                batch = self.run_pipeline(number, indices, number % slots, None)
            except BaseException:
                self._hand_over(keep=0)  # what came before the failure
                raise
            self._begun.append((batch, state.under_way[:]))
            state.under_way.clear()
            if not self._hand_over(keep=1):
                return
        self._hand_over(keep=0)

    def _hand_over(self, keep: int) -> bool:
        """Finish and offer all but ``keep`` of the batches that were begun; False once the consumer has closed."""
        while len(self._begun) > keep:
            batch, under_way = self._begun[0]
            while under_way:
                under_way.pop(0)()
            self._begun.popleft()
            if not self._offer(batch):
                return False
        return True

    def _let_go(self, state: EpochState) -> None:
        """Wait for what helpers still do for batches that nobody will see."""
        for under_way in (*(under_way for _, under_way in self._begun), state.under_way):
            for finish in under_way:
                with suppress(InputError):
                    finish()
        self._begun.clear()

    def _offer(self, item: Any) -> bool:
        """Hand ``item`` to the consumer; False once the consumer has closed."""
        while not self.terminate_event.is_set():
            try:
                self.output_queue.put(item, timeout=POLL_S)
            except Full:
                continue
            return True
        return False

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            LoaderFailedError: when the producer failed; batches before the failure have been handed out.
            StopIteration: after the last batch, after a failure and after ``close``, as often as asked.
        """
        item = None if self.finished else self._take()
        if item is not None:
            return item
        self.close()
        error, self.error = self.error, None
        if error is not None:
            raise LoaderFailedError(f"{self.loader.path}: reading a batch failed: {error!r}") from error
        raise StopIteration

    def ready(self) -> bool:
        """Whether a batch waits to be taken; False at the end and before an error."""
        waiting = self.output_queue.queue
        return not self.finished and len(waiting) > 0 and waiting[0] is not None

    def _take(self) -> Any:
        while True:
            try:
                return self.output_queue.get(timeout=POLL_S)
            except Empty:
                if not self.is_alive() and self.output_queue.empty():
                    return None

    def close(self) -> None:
        """End the producer, wait for it and let go of the batches it had ready. Harmless when called again."""
        self.finished = True
        self.terminate_event.set()
        while self.is_alive():
            self._drain()
            self.join(timeout=POLL_S / 10)
        self._drain()

    def _drain(self) -> None:
        try:
            while True:
                self.output_queue.get_nowait()
        except Empty:
            return

    def __del__(self) -> None:
        """FFCV would close here, which never happens while the thread lives; ``BatchIterator`` closes instead."""
