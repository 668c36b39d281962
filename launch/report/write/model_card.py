"""Write the model card of an exported run from the template ``model_card.md.j2``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import OBJECTIVES

if TYPE_CHECKING:
    from harness.export.export import Exported


def model_card(exported: Exported) -> str:
    """Say what the model is, what it was made from, how well it does, how to use it, and what it is not for."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown; ``text`` escapes names
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(text=_text, code=_code, score=_score, interval=_interval, plain=_plain)
    facts = {"git": {}, "versions": {}, "devices": ["unknown"], "phantom": False}
    facts |= {key: value for key, value in exported.provenance.items() if value}
    config = exported.model.config
    return environment.get_template("model_card.md.j2").render(
        exported=exported,
        config=config,
        labels=exported.model.labels,
        method=OBJECTIVES[config.objective.method].title,
        teacher=config.objective.teacher,
        onnx=exported.onnx,
        size=exported.model.preprocessing.size,
        steps=exported.model.preprocessing.steps(),
        result=exported.result,
        sidecar=exported.sidecar,
        facts=facts,
    )


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.4f} to {value[1]:.4f}"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _text(text: str) -> str:
    """Names as text, never as markup."""
    return re.sub(r"[\\`*|<>\[\]#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
