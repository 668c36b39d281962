"""Many runs: the grid, the plan, executors, status, report, and the ``cxr`` command line."""
