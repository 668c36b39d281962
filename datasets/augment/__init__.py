"""Augmentation as a pure function of seed, epoch and sample, on CPU and device."""
