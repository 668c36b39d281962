"""Read the tables of each dataset: one file for each."""
