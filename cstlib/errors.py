"""The one exception that a user may cause, and is meant to read."""

from __future__ import annotations


class CstlibError(Exception):
    """One sentence that says what is wrong and what to do about it.

    The command line prints it without a traceback and exits with code 2.
    """
