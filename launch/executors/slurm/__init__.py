"""Run a grid in a SLURM queue: one job array for each level of needs."""
