"""Where data, caches and results live."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
WEIGHTS = PACKAGE / "weights"


def data_home() -> Path:
    """The folder that holds the miniature, caches, downloads and results.

    ``CSTLIB_DATA`` if set; else ``data/`` of the checkout that ``cstlib`` is imported
    from; else, for a package installed on its own, ``~/.cache/cstlib``.
    """
    if chosen := os.environ.get("CSTLIB_DATA"):
        return Path(chosen).expanduser().resolve()
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    return Path.home() / ".cache" / "cstlib"


def results_home() -> Path:
    """The folder of the recorded runs, one JSON file each."""
    return data_home() / "results"


def cache_home() -> Path:
    """The folder of everything that can be deleted and is then computed anew."""
    return data_home() / "cache"
