"""The process of one contender: set it up, then answer ``[images, seconds]`` for each line ``{"seconds": ...}``.

Run as ``python -m benchmarks.common.worker MODULE OPTIONS PICTURES.json``; ``null`` seconds are one item.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.pictures import Pictures
from benchmarks.common.process import answer_questions
from benchmarks.common.timing import EPOCH_STARTS, measure, measure_next


def set_up(pictures: Pictures) -> Callable[[Any], Any]:
    """Wait for the first batch; return what measures one round."""
    batches = importlib.import_module(sys.argv[1]).batches(pictures, **json.loads(sys.argv[2]))
    while next(batches) is EPOCH_STARTS:
        pass

    def answer(asked: Any) -> Any:
        seconds = asked["seconds"]
        if seconds is None:
            return measure_next(batches)
        return measure(batches, seconds=seconds, workers=pictures.workers)

    return answer


if __name__ == "__main__":
    answer_questions(Path(sys.argv[3]), set_up)
