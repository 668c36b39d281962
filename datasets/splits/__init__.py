"""Patient splits, nested subsets, manifests and leak checks."""
