"""Decode the batches of one epoch in a background thread that always ends and reports its errors.

FFCV's own iterator loses an error in its thread and then waits for ever, leaks the thread when a loop ends early, and
blocks when asked for more after the end.
"""

from __future__ import annotations

import time
from collections import deque
from queue import Empty, Full
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.loading.batch_writer import PendingBatch
from datasets.loading.ffcv.imports import EpochIterator

POLL_S = 0.2
"""How often a waiting thread looks whether the other side is gone."""
START_S = 1.0
"""Time that a thread gets to run, if the system is to run it at all."""


class LoaderFailedError(RuntimeError):
    """Reading a batch failed in the loader's thread; the cause is chained."""


class EpochProducer(EpochIterator):  # type: ignore[misc]
    """FFCV's producer thread: ``run`` passes errors on, ``__next__`` ends, ``close`` always joins the thread."""

    def __init__(self, loader: Any, order: np.ndarray, epoch: int) -> None:
        self.epoch = epoch
        self.error: BaseException | None = None
        self.finished = False
        self._pending: deque[tuple[Any, ...]] = deque()
        try:
            super().__init__(loader, order)
        except RuntimeError as error:  # how Python says that the system gave no thread
            raise LoaderFailedError(f"{loader.path}: cannot start reading: {error}") from error

    def start(self) -> None:
        """Start the thread; one that Ctrl-C comes in between has ended before it is passed on."""
        try:
            super().start()
        except KeyboardInterrupt:
            deadline = time.monotonic() + START_S
            while self.ident is None and time.monotonic() < deadline:  # it may be about to run
                time.sleep(POLL_S / 100)
            self.close()
            raise

    def run(self) -> None:
        """Decode batch after batch; runs in the producer thread, which FFCV's ``__init__`` starts."""
        self.storage_state = self.epoch  # what decoders get as their last argument
        try:
            self._produce()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer must hear of it
            self.error = error
        for images, *_ in self._pending:
            if isinstance(images, PendingBatch):
                images.drain()
        self._pending.clear()
        self._offer(None)

    def _produce(self) -> None:
        """Decode and hand over every batch, each when the next one has been submitted, so that threads have work."""
        slots = self.loader.batches_ahead + 2
        try:
            for number, indices in enumerate(self.loader.read_ahead(self.iter_ixes)):
                self._pending.append(self.run_pipeline(number, indices, number % slots, None))
                if len(self._pending) > 1 and not self._hand_over():
                    return
        finally:  # batches before a failure are handed over, too
            while self._pending and self._hand_over():
                pass

    def _hand_over(self) -> bool:
        """Finish the oldest batch and offer it; False once the consumer has closed."""
        images, *others = self._pending[0]
        if isinstance(images, PendingBatch):
            images = images.result()
        if not self._offer((images, *others)):
            return False
        self._pending.popleft()
        return True

    def _offer(self, item: Any) -> bool:
        """Queue ``item`` for the consumer; False once the consumer has closed."""
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
            InputError: when a page cannot be used; batches before it have been handed over.
            LoaderFailedError: when the producer failed otherwise.
            StopIteration: after the last batch, after a failure and after ``close``, as often as asked.
        """
        item = None if self.finished else self._take()
        if item is not None:
            return item
        self.close()
        error, self.error = self.error, None
        if isinstance(error, InputError):
            raise error
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
        """End the producer, wait for it and drop the batches it had ready. Harmless when called again."""
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
        """FFCV would close here, which never happens while the thread lives; ``StreamedBatches`` closes instead."""
