"""Figures of runs: what they show, of a size that does not depend on the budget."""

from __future__ import annotations

import io
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_hex

from cstlib import plots
from cstlib.errors import CstlibError
from cstlib.paper import paper_notes, paper_row, paper_rows
from cstlib.plots import Panel
from cstlib.plots.style import CONTROL, QUERY


def metrics(er: float, miou: float):
    return SimpleNamespace(exact_ratio=er, miou=miou)


def steps(count: int) -> list:
    return [
        SimpleNamespace(
            episode=12 * (i + 1),
            loss=1 / (i + 1),
            er=0.5,
            miou=math.nan if i < 2 else 0.2,
            validation=metrics(0.6, 0.1) if i % 10 == 9 else None,
        )
        for i in range(count)
    ]


def drawn(figure) -> np.ndarray:
    """Render, with warnings as errors, and check that the figure is closed."""
    assert figure.number not in pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=50)
    file.seek(0)
    return pyplot.imread(file)


@pytest.mark.parametrize("controls", [None, {"all": metrics(0.5, 0.1)}])
def test_progress_is_of_one_size_however_long_the_run(controls):
    figures = [plots.training_progress(steps(n), "x", controls) for n in (0, 1, 45)]
    assert len({repr(figure) for figure in figures}) == 1
    assert len({drawn(figure).shape for figure in figures}) == 1


def test_progress_shows_validations_in_percent():
    figure = plots.training_progress(steps(30))
    _, ratio, miou = figure.axes
    circles = [line for line in miou.lines if line.get_marker() == "o"]
    assert list(circles[0].get_xdata()) == [120, 240, 360]
    assert list(circles[0].get_ydata()) == pytest.approx([10, 10, 10])
    assert ratio.lines[0].get_ydata()[0] == pytest.approx(50)


def test_bars_hatch_the_controls_and_write_the_figures():
    figure = plots.results_bars(
        {"control": metrics(0.5, 0.08), "ours": metrics(0.7, 0.456)}, ["control"]
    )
    drawn(figure)
    left, right = figure.axes
    control, ours = right.patches
    assert control.get_hatch() and not ours.get_hatch()
    assert to_hex(ours.get_facecolor()) == QUERY.lower()
    assert ours.get_width() == pytest.approx(45.6)
    assert [t.get_text().strip() for t in right.texts] == ["8.0", "45.6"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["control", "ours"]


def test_bars_of_nothing_right_can_be_drawn():
    drawn(plots.results_bars({"plateau": metrics(0.5, 0.0)}))


def test_curves_draw_controls_dashed():
    figure = plots.curves(
        {
            "ours": {1: metrics(0.8, 0.4), 5: metrics(0.3, 0.35)},
            "not recorded": {},
            "coin": {1: metrics(0.5, 0.1)},
        },
        "ways N",
        controls=["coin"],
    )
    drawn(figure)
    ours, coin = figure.axes[0].lines
    assert list(ours.get_ydata()) == pytest.approx([80, 30])
    assert coin.get_linestyle() == "--" and coin.get_color() == CONTROL
    assert list(figure.axes[1].get_xticks()) == [1, 5]
    assert [t.get_text() for t in figure.legends[0].texts] == ["ours", "coin"]


def test_before_after_and_losses_are_drawn():
    figure = plots.before_after([0.1, 0.5], [0.3, 0.4])
    drawn(figure)
    points = figure.axes[0].collections[0].get_offsets()
    assert np.allclose(points, [[10, 30], [50, 40]])
    figure = plots.loss_curves({"a": [4.0, 2.0, 0.0], "b": [1.0]})
    drawn(figure)
    assert list(figure.axes[0].lines[0].get_ydata()) == pytest.approx([4, 3, 2])
    drawn(plots.loss_curves({"nothing yet": []}))


def test_fractions_are_drawn_in_percent_with_their_controls():
    figure = plots.against_fraction(
        {"enhanced": {0.1: 0.6, 0.025: 0.5}}, {"whole image": 0.2}
    )
    drawn(figure)
    line, control = figure.axes[0].lines
    assert list(line.get_xdata()) == pytest.approx([2.5, 10])
    assert list(line.get_ydata()) == pytest.approx([50, 60])
    assert control.get_ydata()[0] == pytest.approx(20)


def test_beside_the_paper_keeps_its_size_without_records():
    paper = {"er": 80.0, "miou": 33.2}
    empty = plots.beside_paper({"a": (paper, {}), "b": ({}, {})})
    full = plots.beside_paper(
        {"a": (paper, {"miou": [40.0, 44.0], "er": [70.0, 72.0]}), "b": ({}, {})}
    )
    assert repr(empty) == repr(full)
    assert drawn(empty).shape == drawn(full).shape
    means = [line for line in full.axes[1].lines if line.get_marker() == "o"]
    assert means[0].get_xdata()[0] == pytest.approx(42)


def image(side: int = 8) -> torch.Tensor:
    return torch.full((3, side, side), 0.5)


def test_panels_fit_labels_to_the_picture():
    labels = torch.zeros(4, 4, dtype=torch.int64)
    labels[:, 2:] = 1
    labels[0, 0] = 255
    figure = plots.panels(
        [
            [Panel(image(), labels, "labelled"), Panel(image())],
            [Panel(torch.rand(5, 5), heat=True)],
        ]
    )
    drawn(figure)
    assert len(figure.axes) == 4
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (8, 8, 3)
    assert np.allclose(shown[:2, :2], 1) and np.allclose(shown[2:, :4], 0.5)
    assert shown[4, 6, 1] > shown[4, 6, 0]  # green
    assert not figure.axes[3].axison


def two_way(shot: int = 1) -> SimpleNamespace:
    """An episode of a key, which is there, and a mug, which is not."""
    return SimpleNamespace(
        support_classes=(3, 7),
        support_images=torch.rand(2, shot, 3, 8, 8),
        support_masks=torch.ones(2, shot, 8, 8, dtype=torch.bool),
        query_image=image(),
        query_mask=torch.zeros(8, 8, dtype=torch.int64),
        presence=torch.tensor([True, False]),
    )


def says(*bits: bool) -> list[SimpleNamespace]:
    label = torch.full((8, 8), int(bits[0]))
    presence = torch.tensor(bits)
    return [SimpleNamespace(presence=presence, presence_prob=presence / 2, label=label)]


def test_predictions_are_ticked_where_presence_is_right():
    figure = plots.prediction_grid(
        [two_way()],
        {"good": says(True, False), "bad": says(True, True)},
        {3: "key", 7: "mug"},
    )
    drawn(figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["key", "mug", "query, truth", "good ✓", "bad ✗"]


def test_predictions_may_bear_their_iou_and_fill_up_with_empty_rows():
    found = {"good": says(True, False)}
    figure = plots.prediction_grid([two_way()], found, None, {"good": [0.75]}, rows=3)
    drawn(figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["class 3", "class 7", "query, truth", "good ✓ 0.75"]
    assert titles[4::4] == ["(no other)"] * 2 and len(titles) == 12
    empty = plots.prediction_grid([], {}, rows=2)
    assert len(empty.axes) == 2


def test_a_live_episode_shows_all_its_supports():
    figure = plots.live_episode(two_way(3), says(True, True)[0], {3: "key", 7: "mug"})
    drawn(figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["query", "truth", "prediction, IoU 0.00", "key: 0.50 ✓"]
    assert titles[9] == "mug: 0.50 ✗"
    assert sum(bool(axis.images) for axis in figure.axes) == 3 + 2 * 3


def test_a_live_episode_paints_the_masks_that_the_learner_is_given():
    given = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    plain, masked = (
        plots.live_episode(two_way(), says(True, False)[0], None, masks)
        for masks in (given, ~given)
    )
    there = [figure.axes[3].images[0].get_array() for figure in (plain, masked)]
    assert not np.allclose(*there)


def test_the_paper_is_found_and_its_tables_agree():
    best = paper_row(table="4", method="CST", way=1)
    assert (best["er"], best["miou"]) == (85.7, 55.5)
    for way in (1, 2):
        same = paper_row(table="1", method="CST", way=way, pseudo_masks=True)
        other = paper_row(table="7", heads="decoupled", supervision="image", way=way)
        assert same["miou"] == other["miou"]
    assert all(0 <= row.get("miou", 0) <= 100 for row in paper_rows())
    assert {row["table"] for row in paper_rows()} >= {"1", "3", "4", "6", "7"}
    assert any("55.7" in note for note in paper_notes())


def test_an_unclear_row_of_the_paper_is_said():
    with pytest.raises(CstlibError, match="rows fit"):
        paper_row(table="4", way=1)
