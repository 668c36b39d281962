"""Executors that run a grid's runs: on this machine, on SLURM, or by another package."""
