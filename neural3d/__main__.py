"""`python -m neural3d`."""

import sys

from neural3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
