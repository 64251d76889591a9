"""Figures of recorded runs: what they draw, and that they do without records."""

from __future__ import annotations

import io
import warnings
from types import SimpleNamespace

import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from cstlib import plots
from cstlib.plots.style import QUERY, SUPPORT
from cstlib.result_tables import Cell

FULL = Cell(40.0, 10.0, 2, 55.5, (30.0, 50.0))
SINGLE = Cell(20.0, None, 1, None, (20.0,))
NONE = Cell(None, None, 0, 16.0, ())


def drawn(figure) -> None:
    """Render with warnings as errors; the figure is closed."""
    assert figure.number not in pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png", dpi=40)


def lines_by_marker(axis, marker):
    return [line for line in axis.lines if line.get_marker() == marker]


def test_bars_show_mean_spread_runs_and_paper():
    figure = plots.bars({"a": {"miou": FULL}, "b": {"miou": NONE}}, ["miou"])
    drawn(figure)
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [40.0]
    assert to_hex(axis.patches[0].get_facecolor()) == QUERY.lower()
    whisker = axis.collections[0].get_segments()[0]
    assert [x for x, _ in whisker] == [30.0, 50.0]
    assert list(lines_by_marker(axis, "|")[0].get_xdata())[:2] == [30.0, 50.0]
    diamonds = lines_by_marker(axis, "D")
    assert [(d.get_xdata()[0], d.get_ydata()[0]) for d in diamonds] == [
        (55.5, 0),
        (16.0, 1),
    ]
    assert {to_hex(d.get_color()) for d in diamonds} == {SUPPORT.lower()}


def test_bars_of_one_run_have_no_whisker_and_controls_are_hatched():
    figure = plots.bars(
        {"control": {"er": SINGLE, "miou": SINGLE}}, controls=["control"]
    )
    drawn(figure)
    for axis in figure.axes:
        assert axis.patches[0].get_hatch() and not axis.collections


@pytest.mark.parametrize("count", [0, 1, 12])
def test_the_size_depends_on_the_rows_and_not_on_the_runs(count):
    cell = Cell(50.0, 1.0, count, 40.0, tuple(float(i) for i in range(count)))
    other = plots.bars({"a": {"er": NONE, "miou": NONE}})
    figure = plots.bars({"a": {"er": cell, "miou": cell}})
    drawn(figure)
    assert repr(figure) == repr(other)


def test_curves_put_here_and_paper_on_one_scale():
    figure = plots.curves_with_spread(
        {"CST": {1: FULL, 2: SINGLE, 5: NONE}, "PANet": {1: NONE, 2: NONE}},
        "ways",
        controls=["PANet"],
    )
    drawn(figure)
    here, paper = figure.axes
    assert here.get_ylim() == paper.get_ylim() == (0, 100)
    assert [t.get_text() for t in here.get_xticklabels()] == ["1", "2", "5"]
    curve = here.containers[0].lines[0]
    assert list(curve.get_xdata()) == [0, 1] and list(curve.get_ydata()) == [40, 20]
    assert [list(line.get_ydata()) for line in paper.lines] == [[55.5, 16], [16, 16]]
    assert paper.lines[1].get_linestyle() == "--"


def test_fractions_stand_in_order_in_percent():
    figure = plots.fraction_of_masks(
        {"enhanced": {0.1: FULL, 0.025: SINGLE}, "(c)": {0.0: SINGLE, 1.0: FULL}}
    )
    drawn(figure)
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert ticks == ["0", "2.5", "10", "100"]


def test_validations_show_each_run_and_their_mean():
    runs = [
        [{"episode": 10, "miou": 0.1}, {"episode": 20, "miou": 0.3}],
        [{"episode": 10, "miou": 0.2}, {"episode": 20, "miou": 0.5}],
    ]
    figure = plots.validation_curves({"multi-head": runs, "none yet": []})
    drawn(figure)
    *thin, mean = figure.axes[0].lines
    assert len(thin) == 2
    assert list(mean.get_ydata()) == pytest.approx([15, 40])
    uneven = plots.validation_curves({"x": [runs[0], runs[1][:1]]})
    assert len(uneven.axes[0].lines) == 2  # no mean of unlike runs
    drawn(plots.validation_curves({}))


def verdict(says, effect, error, paper=3.0, bound=0.0):
    claim = SimpleNamespace(text=f"it {says}", bound=bound)
    return SimpleNamespace(
        claim=claim, says=says, effect=effect, error=error, paper=paper
    )


def test_effects_have_the_interval_of_the_rule_and_a_mark_for_each_verdict():
    figure = plots.effects(
        [
            verdict("holds", 5.0, 1.0),
            verdict("does not hold", -5.0, 1.0, bound=10.0),
            verdict("too close to call", 0.5, 1.0),
            verdict("too few runs (1)", 2.0, None),
            verdict("too few runs (0)", None, None, paper=None),
        ]
    )
    drawn(figure)
    (axis,) = figure.axes
    ends = [[x for x, _ in c.get_segments()[0]] for c in axis.collections]
    assert ends == [[3.0, 7.0], [-7.0, -3.0], [-1.5, 2.5]]
    markers = [c.lines[0].get_marker() for c in axis.containers]
    assert markers == ["o", "X", "s", "."]
    assert len({to_hex(c.lines[0].get_color()) for c in axis.containers}) == 4
    assert len(lines_by_marker(axis, "D")) == 4


def test_nothing_recorded_is_an_empty_figure():
    for figure in (
        plots.bars({}),
        plots.curves_with_spread({}, "shots"),
        plots.fraction_of_masks({}),
        plots.effects([]),
    ):
        drawn(figure)
