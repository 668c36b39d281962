"""The pool of decoding processes without the processes, for tests of what the one process that is left writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.convert.pool import DecodePool, Outcome, _parse
from datasets.convert.worker import answer


class DecodedHere(DecodePool):
    """Decodes in the process that asks."""

    def decode(self, paths: Iterable[str]) -> Iterator[Outcome]:
        root, recipe = self._arguments
        for path in paths:
            yield _parse(answer(Path(root) / path, recipe))
