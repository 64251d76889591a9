"""Explorers: controls start where they should, and hand their values to the draw."""

from __future__ import annotations

import importlib.util

import ipywidgets
import pytest

from cstlib import widgets
from cstlib.widgets import explore, first_value, widget


def test_whole_numbers_make_a_slider_from_the_first():
    slider = widget("block", (1, 12))
    assert isinstance(slider, ipywidgets.IntSlider)
    assert (slider.value, slider.min, slider.max, slider.step) == (1, 1, 12, 1)


def test_a_slider_may_start_elsewhere():
    slider = widget("block", (1, 12, 1, 12))
    assert isinstance(slider, ipywidgets.IntSlider) and slider.value == 12


def test_fractions_make_a_slider_of_fractions():
    slider = widget("threshold", (0.3, 0.8, 0.01, 0.72))
    assert isinstance(slider, ipywidgets.FloatSlider)
    assert slider.value == pytest.approx(0.72)
    assert slider.step == pytest.approx(0.01)


def test_sliders_wait_until_they_are_let_go():
    assert not widget("a", (0, 9)).continuous_update
    assert not widget("a", (0.0, 1.0, 0.1, 0.5)).continuous_update


def test_choices_make_a_menu_that_starts_in_the_first():
    menu = widget("weights", ["dino", "random"])
    assert isinstance(menu, ipywidgets.Dropdown) and menu.value == "dino"
    named = widget("masked", {"no": False, "yes": True})
    assert named.value is False and named.options == (("no", False), ("yes", True))


def test_names_become_labels():
    assert widget("support_patch", (0, 1)).description == "support patch"


@pytest.mark.parametrize("control", [(), (1,), (1, 2, 3), "ab", ("a", "b"), [], {}, 5])
def test_other_controls_are_refused(control):
    with pytest.raises(ValueError, match="is no control"):
        first_value(control)
    with pytest.raises(ValueError, match="is no control"):
        explore(lambda x: None, x=control)


def test_explore_draws_once_at_the_start(capsys):
    calls = []

    def draw(number, threshold, name):
        calls.append((number, threshold, name))

    explore(draw, number=(2, 5), threshold=(0.0, 1.0, 0.1, 0.4), name=["a", "b"])
    assert calls == [(2, 0.4, "a")]


def test_without_widgets_a_static_figure_is_shown(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "ipywidgets" else find(name, *rest),
    )
    shown = []
    monkeypatch.setattr(widgets, "display", shown.append)
    explore(lambda number, name: f"{number}{name}", number=(3, 9), name={"x": "y"})
    assert shown == ["3y"]
