"""FFCV's reader, loader and operations, as this project uses them."""
