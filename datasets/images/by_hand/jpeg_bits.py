"""Addresses of a JPEG's entropy-coded bytes come in; bits and signed numbers go out, inside compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.kernels.addresses import load_big_endian
from datasets.kernels.threads import merged_kernel


@merged_kernel
def load_bits(data: Any, bit: Any) -> Any:
    """The 57 or more bits from ``bit`` on, at the upper end of 64."""
    return load_big_endian(data + (bit >> 3)) << np.uint64(bit & 7)


@merged_kernel
def first_bits(word: Any, num_bits: Any) -> Any:
    """The uppermost ``num_bits`` of a word, as a number."""
    return np.int64(word >> np.uint64(64 - num_bits))


@merged_kernel
def signed_number(word: Any, length: Any, size: Any) -> Any:
    """The signed number in the ``size`` bits behind a code of ``length`` bits; without branches."""
    rest = word << np.uint64(length)
    bits = np.int64((rest >> np.uint64(1)) >> np.uint64(63 - size))
    negative = np.int64(rest >> np.uint64(63)) - 1
    return bits - (negative & ((np.int64(1) << size) - 1))
