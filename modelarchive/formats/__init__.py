"""Files by their bytes: the systems that are known, and what people hand over by mistake.

`systems` is the table of systems, one row each, with the `signs` by which `recognising` tells their files. What a
reader has refused is looked at once more: `refusing` asks the table of `mistaken`, whose rows are `mistakes`, and
`explaining` gives what it says in place of the reader's own refusal. That table is imported for refused files only.
"""

from modelarchive.formats.explaining import explain, is_a_folder, is_not_an_archive
from modelarchive.formats.recognising import is_bare, is_certain, recognise
from modelarchive.formats.systems import FORMATS, SYSTEMS, System, format_of_name, system_of_name

__all__ = [
    "FORMATS",
    "SYSTEMS",
    "System",
    "explain",
    "format_of_name",
    "is_a_folder",
    "is_bare",
    "is_certain",
    "is_not_an_archive",
    "recognise",
    "system_of_name",
]
