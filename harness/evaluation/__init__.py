"""Metrics, inference, bootstrap and attention maps."""
