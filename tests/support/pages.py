"""The documents' fenced blocks: commands to run and files to write, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.(?:toml|py))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language as written behind the fence, and its text."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block shows, named in its first line."""
        match = NAMED.match(self.text)
        return match[1] if match else None


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / page).read_text(encoding="utf-8"))]


def commands(page: str) -> list[str]:
    """Every command of the page's ``sh`` blocks, continued lines joined."""
    lines = "".join(block.text for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
    return [line for line in map(str.strip, lines.splitlines()) if line and not line.startswith("#")]
