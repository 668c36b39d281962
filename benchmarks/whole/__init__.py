"""All benchmarks one after another, and what this machine can feed."""
