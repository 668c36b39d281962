"""Compiled helpers shared by loaders."""
