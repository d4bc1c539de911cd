"""In from every framework, out to every framework: one module a system, all with `read` and `write`.

Each ``read(path)`` gives a :class:`Bundle`, each ``write(source, path)`` takes a bundle, an open archive, a
network or a mapping of arrays and returns what was lost.
"""

from modelarchive.exchange.bundle import Bundle, Note, bundle_of, save_bundle

__all__ = ["Bundle", "Note", "bundle_of", "save_bundle"]
