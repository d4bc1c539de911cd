"""Measures modelarchive and its peers side by side: ``python -m tests.benchmarks``."""
