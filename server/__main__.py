"""`python -m server` is the command `memo`."""

import sys

from server.cli import main

if __name__ == "__main__":
    sys.exit(main())
