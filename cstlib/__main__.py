"""``python -m cstlib``."""

import sys

from cstlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
