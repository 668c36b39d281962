"""Read run folders for the report."""
