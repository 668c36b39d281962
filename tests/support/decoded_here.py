"""The pool of decoding processes without the processes, for tests of what the one process that is left writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.convert.pool import DecodePool
from datasets.convert.protocol import Outcome
from datasets.convert.worker import decode_page


class DecodedHere(DecodePool):
    """Decodes in the process that asks."""

    def decode(self, paths: Iterable[str]) -> Iterator[Outcome]:
        for path in paths:
            yield decode_page(Path(self.root) / path, self.spec)
