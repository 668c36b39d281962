"""Plan, status and submission of very large grids."""
