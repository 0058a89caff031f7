"""``python -m variantforge``."""

from __future__ import annotations

import sys

from variantforge.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
