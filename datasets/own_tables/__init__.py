"""Read anybody's tables as a dataset, by a spec in TOML; guess a first spec from a folder."""
