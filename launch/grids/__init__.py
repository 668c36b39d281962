"""Grids of runs: built-in, from Python and from TOML files."""
