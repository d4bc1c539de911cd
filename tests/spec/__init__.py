"""Tests of modelarchive.spec."""
