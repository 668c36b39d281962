"""Compute a finished run's files again, and say which of them hold."""
