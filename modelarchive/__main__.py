"""``python -m modelarchive`` is the command line."""

import sys

from modelarchive.cli import main

if __name__ == "__main__":
    sys.exit(main())
