"""A compiled kernel and its arguments come in; every thread of torch's own pool runs it, and all have ended.

After each of its loops torch's OpenMP pool keeps its threads spinning for a moment. Threads of any other pool would
have to share the cores with them.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
import torch


@cache
def _start() -> Any:
    """``GOMP_parallel`` of the library that torch has loaded; None where torch computes with another one."""
    if "OpenMP" not in torch.__config__.parallel_info() or not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        library = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    found = library.GOMP_parallel
    found.argtypes, found.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return found


def is_available() -> bool:
    """Whether kernels can run here."""
    return _start() is not None


def run(kernel: int, arguments: np.ndarray) -> None:
    """Call the C function at address ``kernel`` with the address of ``arguments`` (int64) in each of torch's threads.

    The threads share the work by a counter among the arguments.
    """
    start = _start()
    assert start is not None, "is_available is asked first"
    start(kernel, arguments.ctypes.data, torch.get_num_threads(), 0)
