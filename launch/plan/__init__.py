"""Decide what each run of a grid needs, and show it."""
