"""Explorers: sliders and menus around a pure draw function.

A notebook calls its draw function in a cell of its own first, where it is checked;
the cell with `explore` only hands it to ipywidgets. Where widgets cannot run, the
figure at the controls' first values is shown instead.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import display

Control = Any


def explore(draw: Callable[..., Any], **controls: Control) -> None:
    """Show ``draw(**values)`` under one control for each of its arguments.

    A control is written as a value of one of these kinds:

    - ``(first, last)`` whole numbers: a slider that starts in ``first``;
    - ``(first, last, step, start)`` numbers: a slider that starts in ``start``;
    - a list of choices, or a dict label -> choice: a menu that starts in the first.

    The figure follows when a slider is let go, not while it moves.

    Raises:
        ValueError: a control is written in another way, or offers no choice.
    """
    start = {name: first_value(control) for name, control in controls.items()}
    if importlib.util.find_spec("ipywidgets") is None:
        display(draw(**start))
        return
    from ipywidgets import interact

    interact(
        draw, **{name: widget(name, control) for name, control in controls.items()}
    )


def first_value(control: Control) -> Any:
    """The value that a control starts with; errors as in `explore`."""
    if isinstance(control, tuple) and len(control) in (2, 4):
        if all(isinstance(number, (int, float)) for number in control):
            return control[0] if len(control) == 2 else control[3]
    elif isinstance(control, dict) and control:
        return next(iter(control.values()))
    elif isinstance(control, list) and control:
        return control[0]
    raise ValueError(
        f"{control!r} is no control: write (first, last), (first, last, step, start), "
        "or a list or dict of choices"
    )


def widget(name: str, control: Control) -> Any:
    """The ipywidgets control that goes with ``control``; errors as in `explore`."""
    import ipywidgets

    start = first_value(control)
    style = {"description_width": "7em"}
    common = {"description": name.replace("_", " "), "style": style}
    if not isinstance(control, tuple):
        options = list(control.items()) if isinstance(control, dict) else control
        return ipywidgets.Dropdown(options=options, value=start, **common)
    first, last, step = _range(control)
    whole = all(isinstance(number, int) for number in (first, last, step, start))
    slider = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return slider(
        value=start,
        min=first,
        max=last,
        step=step,
        continuous_update=False,
        layout={"width": "28em"},
        **common,
    )


def _range(control: Sequence[float]) -> tuple[float, float, float]:
    step = control[2] if len(control) == 4 else 1
    return control[0], control[1], step


__all__ = ["explore", "first_value", "widget"]
