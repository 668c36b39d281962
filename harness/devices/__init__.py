"""Accelerator, precision and device checks."""
