"""The roof: save and load arrays, blocks and whole models, open archives, verify them."""

from modelarchive.archive.loading import load, load_model, load_parameters, open_archive, verify
from modelarchive.archive.opening import Archive
from modelarchive.archive.parameters import Parameters
from modelarchive.archive.rewriting import write_archive
from modelarchive.archive.saving import save, save_model, save_parameters
from modelarchive.archive.streaming import save_stream
from modelarchive.archive.verifying import Report

__all__ = [
    "Archive",
    "Parameters",
    "Report",
    "load",
    "load_model",
    "load_parameters",
    "open_archive",
    "save",
    "save_model",
    "save_parameters",
    "save_stream",
    "verify",
    "write_archive",
]
