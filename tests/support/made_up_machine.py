"""Facts about a machine, as the environment of a benchmark's JSON file has them."""

from __future__ import annotations

from typing import Any

MACHINE: dict[str, Any] = {
    "cpu": "A processor",
    "cores": 2,
    "memory_gb": 8.0,
    "gpu": None,
    "system": "Linux",
    "python": "3.11",
    "versions": {"torch": "2.14"},
    "commit": "abc",
    "date": "today",
    "load_average": 0.1,
}
