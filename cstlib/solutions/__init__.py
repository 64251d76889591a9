"""Written solutions of the notebooks' exercises, one module for each notebook.

A solution is a plain function with the name, the arguments and the docstring of the
stub that it fills in; `cstlib.solutions.pages` makes the notebooks in
``notebooks/solutions/`` of it, and tests hold it equal to the stub and give it to the
exercise's check. To add one, write the function in its notebook's module and name it in
the module's ``SOLUTIONS``, in the order of the lesson.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOLDER = "solutions"  # of the notebooks, inside the folder of the lessons


@dataclass(frozen=True)
class Solution:
    """One solved exercise.

    Attributes:
        exercise: the name that `cstlib.exercises.check` knows it by.
        function: the stub, filled in.
        why: two or three sentences (Markdown): why it is right, and where one slips.
    """

    exercise: str
    function: Callable[..., Any]
    why: str


def solutions() -> dict[str, tuple[Solution, ...]]:
    """The solutions by the lesson's file name without its ending, in order."""
    found: dict[str, tuple[Solution, ...]] = {}
    for module in pkgutil.iter_modules(__path__):
        one = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(one, "SOLUTIONS"):
            found[one.NOTEBOOK] = tuple(one.SOLUTIONS)
    return dict(sorted(found.items()))


__all__ = ["FOLDER", "Solution", "solutions"]
