"""``cxr grid``: plan, submit, follow, sweep and simulate runs."""
