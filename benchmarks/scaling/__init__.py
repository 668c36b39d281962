"""Loaders against workers, image size, batch size, and a file that is not in the page cache."""
