"""Files and pixels: source tables, labels, splits, the beton file, batches. Knows nothing of training."""
