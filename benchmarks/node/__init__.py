"""Several runs at once on one GPU, or on one machine without."""
