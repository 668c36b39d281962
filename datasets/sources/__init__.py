"""Read the tables of datasets: one reader for each, a registry, and records in one schema."""
