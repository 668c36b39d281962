"""Run a grid on this machine."""
