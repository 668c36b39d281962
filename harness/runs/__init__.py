"""The run folder and what is written to it."""
