"""Rounds, timing, peers and environment shared by the benchmarks."""
