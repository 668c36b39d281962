"""Train one run: build, loop, step, checkpoints and signals."""
