"""Decoders kept by hand."""
