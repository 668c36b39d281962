"""Import the parts of FFCV that are in use, without FFCV's side effects on the process.

``import ffcv`` compiles for seconds and sets torch to one thread; here nothing is compiled, and torch's setting is
put back. Import FFCV through this module only.
"""

from __future__ import annotations

import sys
import warnings

import torch
from numba import typed

_threads_before, _typed_dict = torch.get_num_threads(), typed.Dict
try:
    # FFCV 1.0.2 fills ffcv.fields.rgb_image.IMAGE_MODES, which plain Python alone reads, as a numba dictionary, for
    # which numba compiles two seconds; a plain one serves. tests/datasets/loading/test_ffcv.py notices a change.
    typed.Dict = dict
    # FFCV's graph takes from distutils a ``warn`` that it does not use; importing distutils is importing setuptools.
    _stands_in = sys.modules.setdefault("distutils.log", warnings) is warnings
    from ffcv.fields.base import ARG_TYPE as ARG_TYPE
    from ffcv.fields.base import Field as Field
    from ffcv.loader.epoch_iterator import EpochIterator as EpochIterator
    from ffcv.pipeline.operation import Operation as Operation
    from ffcv.pipeline.state import State as State
    from ffcv.reader import Reader as Reader
finally:
    typed.Dict = _typed_dict
    torch.set_num_threads(_threads_before)
    if _stands_in:
        del sys.modules["distutils.log"]
