"""Measurements of the harness beside its peers; every figure carries its hardware, versions and spread."""
