"""Files that lie elsewhere: a URL as a file of which ranges are read, through fsspec.

`address` knows URLs and shows them without credentials, `file` is the file itself, `transport` is what one request is
and may fail with; `http`, `s3` and `generic` make requests, `connecting` chooses among them. fsspec is imported when
the first one is made.
"""

from modelarchive.remote.address import is_url
from modelarchive.remote.file import CACHES, RemoteFile, located

__all__ = ["CACHES", "RemoteFile", "is_url", "located"]
