"""Checks of machine, data and runs: each yields findings, each finding names its fix."""
