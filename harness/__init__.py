"""One run on given devices: networks, losses, the loop, checkpoints, evaluation. Knows nothing of SLURM."""
