"""`python -m prunekit`: the same as the command `prunekit`."""

from __future__ import annotations

import sys

from prunekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
