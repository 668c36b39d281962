"""Draw counter-based random numbers: 64-bit words hashed from seed, purpose, epoch and sample number.

A word depends on these alone, so any order, batch, thread or process gives the same numbers.
The hash is the output function of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", 2014).
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint64]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FACTOR_1 = 0xBF58476D1CE4E5B9
FACTOR_2 = 0x94D049BB133111EB


class Purpose(IntEnum):
    """What numbers are drawn for; two purposes never share a number."""

    ORDER = 1
    AUGMENTATION = 2
    MIXUP = 3
    BALANCE = 4


def mix(words: Words) -> Words:
    """Splitmix64's step for each word: add the golden ratio, then scramble all 64 bits. A bijection."""
    words = words + np.uint64(GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(FACTOR_1)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(FACTOR_2)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=64)
def stream_key(seed: int, epoch: int, purpose: Purpose) -> int:
    """Key of all draws of one purpose in one epoch, in 0..2**64-1.

    Each part is hashed before the next one enters, so that seed s + 1 does not replay seed s shifted by an epoch.
    """
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, int(purpose), epoch):
        key = mix(key ^ np.uint64(int(part) & MASK))
    return int(key[0])


def sample_words(key: int, samples: npt.NDArray[np.integer]) -> Words:
    """One word for each sample number; distinct samples get distinct words."""
    return mix(samples.astype(np.uint64) ^ np.uint64(key))


def uniform(words: Words) -> npt.NDArray[np.float64]:
    """Words as numbers in [0, 1), from their upper 53 bits."""
    numbers: npt.NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers
