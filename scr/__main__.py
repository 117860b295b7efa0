"""`python -m scr` is the `scr` command."""

import sys

from scr.cli import main

if __name__ == "__main__":
    sys.exit(main())
