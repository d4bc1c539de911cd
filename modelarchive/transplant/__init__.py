"""Parts of one network into another, in memory or from file to file."""

from modelarchive.transplant.files import transplant_file
from modelarchive.transplant.plan import transplant
from modelarchive.transplant.report import Transplant

__all__ = ["Transplant", "transplant", "transplant_file"]
