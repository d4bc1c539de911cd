"""Tests of modelarchive.nn."""
