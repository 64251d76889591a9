"""Instant checks of the notebooks' exercises.

A topic is a module of this package with a list ``EXERCISES``; to add an exercise, add
an `Exercise` to one. An answer is compared with an independent reference on inputs
that the notebook has not shown. Where it agrees with a known wrong answer instead, the
verdict names the mistake.

    from cstlib.exercises import check
    check("exact-ratio", exact_ratio)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState

from cstlib.errors import CstlibError

UNSOLVED = "Not solved yet"
_SHOWN = 5  # as many wrong values are shown beside the right ones
RIGHT = "Right."


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is right, what is tried, and how one goes wrong.

    Attributes:
        name: as given to `check`, words joined by hyphens.
        task: what is to be written, to follow "Not solved yet: ".
        reference: the right function, written independently of the notebook.
        inputs: from a RandomState to the argument tuples of several calls.
        mistakes: hint -> a function that makes this very mistake. The hint is shown
            where the answer equals that function's on all inputs.
        tolerance: largest difference that counts as equal.
        praise: said after "Right.", what the reader may take along.
    """

    name: str
    task: str
    reference: Callable[..., Any]
    inputs: Callable[[RandomState], Iterable[Sequence[Any]]]
    mistakes: dict[str, Callable[..., Any]] = field(default_factory=dict)
    tolerance: float = 1e-4
    praise: str = ""


def check(name: str, answer: Any) -> None:
    """Print the verdict on an answer: a function, or a value where one is asked for.

    Raises:
        CstlibError: there is no exercise of that name.
    """
    print(verdict(name, answer))


def verdict(name: str, answer: Any) -> str:
    """What `check` prints: "Not solved yet: ...", a hint, or "Right. ..."."""
    exercise = find(name)
    function = answer if callable(answer) else lambda *_: answer
    calls = list(exercise.inputs(RandomState(20230301)))
    found = []
    for call in calls:
        try:
            got = function(*_copies(call))
        except NotImplementedError:
            got = None
        except Exception as error:  # noqa: BLE001 - whatever a reader may write
            return f"Not yet: your code stops with {type(error).__name__}: {error}"
        if got is None or got is Ellipsis:
            return f"{UNSOLVED}: {exercise.task}"
        found.append(got)
    wanted = [exercise.reference(*_copies(call)) for call in calls]
    if _all_equal(found, wanted, exercise.tolerance):
        return f"{RIGHT} {exercise.praise}".rstrip()
    for hint, mistaken in exercise.mistakes.items():
        wrong = [mistaken(*_copies(call)) for call in calls]
        if _all_equal(found, wrong, exercise.tolerance):
            return f"Not yet: {hint}"
    return f"Not yet: {_difference(calls, found, wanted, exercise.tolerance)}"


def find(name: str) -> Exercise:
    """The exercise of that name.

    Raises:
        CstlibError: there is none.
    """
    known = exercises()
    if name not in known:
        raise CstlibError(
            f"There is no exercise {name!r}: choose one of {', '.join(sorted(known))}."
        )
    return known[name]


def exercises() -> dict[str, Exercise]:
    """All exercises of all topics, by name.

    Raises:
        ValueError: two exercises have the same name.
    """
    found: dict[str, Exercise] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for one in importlib.import_module(f"{__name__}.{module}").EXERCISES:
            if one.name in found:
                raise ValueError(f"two exercises are called {one.name!r}")
            found[one.name] = one
    return found


def _copies(arguments: Sequence[Any]) -> list[Any]:
    """Arguments that an answer may change without spoiling the next comparison."""
    return [
        a.clone() if isinstance(a, torch.Tensor) else a.copy() if _copyable(a) else a
        for a in arguments
    ]


def _copyable(value: Any) -> bool:
    return isinstance(value, (np.ndarray, list, dict, set))


def _array(value: Any) -> np.ndarray:
    if isinstance(value, (tuple, list)) and any(
        isinstance(v, torch.Tensor) for v in value
    ):
        value = [_array(v) for v in value]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _equal(found: Any, wanted: Any, tolerance: float) -> bool:
    try:
        a, b = _array(found), _array(wanted)
    except (ValueError, TypeError):  # ragged
        return _parts_equal(found, wanted, tolerance)
    if a.shape != b.shape:
        return False
    if not _numeric(a) or not _numeric(b):
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a.astype(float), b.astype(float), 0, tolerance, True))


def _parts_equal(found: Any, wanted: Any, tolerance: float) -> bool:
    if not isinstance(found, (tuple, list)) or len(found) != len(wanted):
        return False
    return all(_equal(a, b, tolerance) for a, b in zip(found, wanted))


def _numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf"


def _all_equal(found: list, wanted: list, tolerance: float) -> bool:
    return all(_equal(a, b, tolerance) for a, b in zip(found, wanted))


def _difference(calls: list, found: list, wanted: list, tolerance: float) -> str:
    """In a sentence, how the first wrong result differs from the right one."""
    number, got, right = next(
        (i, a, b)
        for i, (a, b) in enumerate(zip(found, wanted), start=1)
        if not _equal(a, b, tolerance)
    )
    call = f"on check {number} of {len(found)}"
    if isinstance(got, (dict, set)):
        return f"{call} a list or an array is wanted, yours is a {type(got).__name__}."
    asked = calls[number - 1]
    if asked and all(isinstance(a, (bool, int, float)) for a in asked):
        call += f", with {', '.join(f'{a:g}' for a in asked)},"
    try:
        a, b = _array(got), _array(right)
    except (ValueError, TypeError):
        return f"{call} the parts of your answer do not have the expected shapes."
    if a.shape != b.shape:
        return f"{call} the shape should be {b.shape}, yours is {a.shape}."
    if not _numeric(a) or not _numeric(b):
        return f"{call} it should be {right!r}, yours is {got!r}."
    if a.ndim == 0:
        return f"{call} it should be {_figure(b)}, yours is {_figure(a)}."
    if (
        a.dtype.kind == "f"
        and np.isnan(a).any()
        and not np.isnan(b.astype(float)).any()
    ):
        return f"{call} the shape is right, but some values are NaN."
    if a.ndim == 1 and a.size <= _SHOWN:
        return f"{call} it should be {_listed(b)}, yours is {_listed(a)}."
    worst = np.abs(a.astype(float) - b.astype(float)).max()
    return f"{call} the shape is right, but values are off by up to {worst:.2g}."


def _listed(array: np.ndarray) -> str:
    """Few values as Python writes them, rounded to four digits."""
    if array.dtype.kind == "b":
        return str(array.tolist())
    return str([float(f"{v:.4g}") for v in array])


def _figure(value: np.ndarray) -> str:
    """Whole numbers in full, others to four digits."""
    number = float(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:.4g}"


__all__ = ["Exercise", "check", "exercises", "find", "verdict"]
