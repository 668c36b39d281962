"""Replay a grid on a simulated cluster: makespan, utilisation and lost hours."""
