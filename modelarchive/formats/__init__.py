"""Files by their bytes: which formats are known, how content tells them, and what people hand over by mistake.

`recognising` tells which of the formats in `known` a file is, by its `content`. What a reader has refused is looked
at once more: `telling` asks the table of `mistaken`, each row a `mistake` with one of the `signs`, and `explaining`
gives what it says in the place of the reader's own refusal. The tables are imported for refused files only.
"""

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
