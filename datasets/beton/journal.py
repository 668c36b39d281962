"""List the finished blocks of a growing beton, one JSON line each; a torn last line is ignored after a kill."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from datasets.errors import InputError


@dataclass
class Block:
    """Candidates ``first`` to ``next - 1``: checksums of those with a page, reasons against the others."""

    first: int
    next: int
    rejects: list[tuple[int, str, str]] = field(default_factory=list)
    """Position, reason, and the stamp of the file that was refused."""
    crc32: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Bytes of each stored image where they differ: of JPEGs."""

    @property
    def accepted(self) -> list[int]:
        """Positions of the candidates with a page."""
        rejected = {position for position, _, _ in self.rejects}
        return [position for position in range(self.first, self.next) if position not in rejected]


class Journal(AbstractContextManager["Journal"]):
    """Append-only list of blocks, bound to a key; while it is open nobody else can open it.

    Raises:
        InputError: if another process has it open.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        self.path = path
        self._header = json.dumps({"key": key}).encode() + b"\n"
        # No buffer between us and the file: after a write that failed nothing is left to fail again on closing.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"{path}: another conversion is writing this beton; wait for it to end") from None
        except OSError:
            pass  # some network file systems have no locks; there a second writer goes unnoticed

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)

    def read(self) -> Iterator[tuple[Block, int]]:
        """Blocks written under the same key, each with the journal's length up to and with its line."""
        with self.path.open("rb") as lines:
            if lines.readline() != self._header:
                return
            num_bytes = len(self._header)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                try:
                    values = json.loads(line)
                except ValueError:
                    return
                num_bytes += len(line)
                values["rejects"] = [tuple(reject) for reject in values["rejects"]]
                yield Block(**values), num_bytes

    def cut(self, num_bytes: int) -> None:
        """Keep the first ``num_bytes`` bytes of what was read; with 0 begin anew under this journal's key."""
        os.ftruncate(self._file, num_bytes)
        if num_bytes == 0:
            self._append(self._header)

    def append(self, block: Block) -> None:
        """Add a block whose pages are already in the beton."""
        self._append(json.dumps(vars(block)).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._file, view) :]
