"""Files by their bytes: which formats are known, how content tells them, and what people hand over by mistake."""

from modelarchive.formats.explaining import explain, is_a_folder, is_not_an_archive
from modelarchive.formats.known import FORMATS, Format, format_of_name
from modelarchive.formats.recognising import is_certain, recognise

__all__ = [
    "FORMATS",
    "Format",
    "explain",
    "format_of_name",
    "is_a_folder",
    "is_certain",
    "is_not_an_archive",
    "recognise",
]
