"""A decode pool without processes, for tests that count what the converting process itself does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.convert.pool import DecodePool
from datasets.convert.protocol import Outcome
from datasets.convert.worker import decode_page


class DecodedHere(DecodePool):
    """Decode in the calling process."""

    def decode(self, paths: Iterable[str]) -> Iterator[Outcome]:
        for path in paths:
            yield decode_page(Path(self.root) / path, self.spec)
