"""Loaders beside their peers."""
