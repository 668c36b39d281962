"""Runs in a SLURM queue: a plan and a cluster profile come in; job arrays, and what became of them, go out."""
