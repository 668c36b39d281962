"""Intervals, paired differences and bootstrap of the report."""
