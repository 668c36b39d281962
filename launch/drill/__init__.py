"""Try in the user's own queue what a cluster does to runs, and tell what survives it."""
