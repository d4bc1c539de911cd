"""Tests of modelarchive.architecture."""
