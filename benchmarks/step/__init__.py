"""Training steps beside baseline loops."""
