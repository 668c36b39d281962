"""Executors that run a grid's jobs: local and SLURM."""
