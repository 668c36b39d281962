"""Conversion beside its peers."""
