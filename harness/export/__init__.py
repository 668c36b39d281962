"""Export a trained network and predict with it."""
