"""Decode image files to 8-bit gray pixels."""
