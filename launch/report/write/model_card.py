"""Write the model card of an exported run from the template ``model_card.md.j2``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from harness.config import OBJECTIVES
from launch.report.write.documents import template

if TYPE_CHECKING:
    from harness.export.export import Exported


def model_card(exported: Exported) -> str:
    """Say what the model is, what it was made from, how well it does, how to use it, and what it is not for."""
    facts = {"git": {}, "versions": {}, "devices": ["unknown"], "phantom": False}
    facts |= {key: value for key, value in exported.provenance.items() if value}
    method = OBJECTIVES[exported.model.config.objective.method].title
    card = template("model_card.md.j2", text=_text, code=_code, plain=_plain)
    return card.render(exported=exported, method=method, facts=facts)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _text(text: str) -> str:
    """Names as text, never as markup."""
    return re.sub(r"[\\`*|<>\[\]#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
