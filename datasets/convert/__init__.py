"""Convert image files and tables into a beton."""
