"""The counter-based numbers: known values, one key per purpose, uniform and independent."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.augment.counter_rng import Purpose, mix, sample_words, stream_key, uniform
from datasets.augment.policy import Augment, draw

seeds = st.integers(-(2**63), 2**64 - 1)


def test_mix_is_splitmix64() -> None:
    """The published first outputs of splitmix64 from state 1234567."""
    steps = np.arange(3, dtype=np.uint64)
    states = np.uint64(1234567) + steps * np.uint64(0x9E3779B97F4A7C15)
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(0, 10_000))
def test_keys_never_replay_each_other(seed: int, epoch: int) -> None:
    keys = {stream_key(s % 2**64, e, p) for s in (seed, seed + 1) for e in (epoch, epoch + 1) for p in Purpose}
    assert len(keys) == 4 * len(Purpose)


def test_a_draw_depends_on_its_own_index_alone() -> None:
    augment = Augment(15.0, 0.5)
    angles, flips, *_ = draw(3, 5, np.arange(1000), augment)
    some = np.array([999, 4, 4, 500])
    some_angles, some_flips, *_ = draw(3, 5, some, augment)
    assert np.array_equal(some_angles, angles[some])
    assert np.array_equal(some_flips, flips[some])
    assert not np.array_equal(draw(3, 6, np.arange(1000), augment)[0], angles)
    assert not np.array_equal(draw(4, 5, np.arange(1000), augment)[0], angles)


def test_seed_and_epoch_do_not_shift_into_each_other() -> None:
    """Seed s in epoch e + 1 must not be seed s + 1 in epoch e, as it is with FFCV's and torch's samplers."""
    augment = Augment(15.0, 0.5)
    assert not np.array_equal(draw(0, 1, np.arange(100), augment)[0], draw(1, 0, np.arange(100), augment)[0])


def test_draws_are_uniform_and_independent() -> None:
    augment = Augment(15.0, 0.25)
    angles, flips, *_ = draw(0, 0, np.arange(100_000), augment)
    assert angles.min() >= -15.0 and angles.max() <= 15.0
    counts, _ = np.histogram(angles, bins=20, range=(-15, 15))
    assert np.abs(counts - 5000).max() < 350
    assert abs(flips.mean() - 0.25) < 0.006
    assert abs(np.corrcoef(angles, flips)[0, 1]) < 0.01
    assert abs(np.corrcoef(angles[1:], angles[:-1])[0, 1]) < 0.01


def test_ranges_at_their_ends() -> None:
    assert not draw(0, 0, np.arange(1000), Augment(0.0, 0.0))[0].any()
    assert not draw(0, 0, np.arange(1000), Augment(0.0, 0.0))[1].any()
    assert draw(0, 0, np.arange(1000), Augment(0.0, 1.0))[1].all()
    numbers = uniform(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert numbers[0] == 0.0 and numbers[1] < 1.0


def test_distinct_samples_get_distinct_words() -> None:
    words = sample_words(stream_key(1, 2, Purpose.ORDER), np.arange(200_000))
    assert np.unique(words).size == words.size


@pytest.mark.parametrize("module", ["augment.counter_rng", "augment.policy", "loading.epoch_plan"])
def test_drawing_needs_no_heavy_import(module: str) -> None:
    heavy = "[name for name in ('torch', 'ffcv', 'numba') if name in sys.modules]"
    code = f"import sys, datasets.{module}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
