"""Tests of reading and writing MXNet's files."""
