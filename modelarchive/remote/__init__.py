"""Files that lie elsewhere: a URL as a file of which ranges are read, through fsspec.

`address` knows URLs and shows them without credentials, `locating` tells them from paths, `file` is the file itself,
`ranges` are what is read of it at once, `transport` is what one request is and may fail with; `http`, `s3` and
`generic` make requests, `connecting` chooses among them. fsspec is imported when the first one is made.
"""

from modelarchive.remote.address import is_url
from modelarchive.remote.file import RemoteFile
from modelarchive.remote.locating import CACHES, expect_path, located

__all__ = ["CACHES", "RemoteFile", "expect_path", "is_url", "located"]
