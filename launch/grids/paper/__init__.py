"""The paper's experiments: its grid of runs, and its printed tables to compare with."""
