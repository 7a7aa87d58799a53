"""Hostile inputs against everything that takes a source's bytes, with CPU time and memory as oracles."""
