"""Augmentation as a pure function of seed, epoch and sample, on CPU and device."""

MOST = {"scale": 0.5, "crop": 0.9, "brightness": 1.0, "contrast": 1.0}
"""Largest ranges of the changes that are off by default; here, since configs are checked without numpy."""
