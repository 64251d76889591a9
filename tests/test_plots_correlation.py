"""Figures of correlations and of the learner: closed, of fixed make, true to data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cstlib import plots
from cstlib.plots import correlation, learner

IMAGE = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(96, 96, dtype=torch.bool)
MASK[30:60, 20:50] = True


def _numbers(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


FIGURES = {
    "patch_view": (
        lambda: plots.patch_view(IMAGE, IMAGE, _numbers(12, 12), (3, 5), (12, 12)),
        3,
    ),
    "patch_view_grid": (
        lambda: plots.patch_view_grid(
            *(IMAGE, IMAGE, _numbers(3, 2, 12, 12), (0, 0), (12, 12)),
            ["layer 1", "layer 4", "layer 8"],
            ["head 1", "head 2"],
        ),
        9,
    ),
    "query_map_rows": (
        lambda: plots.query_map_rows(
            [(IMAGE, IMAGE)] * 2, _numbers(2, 4, 12, 12), "ab", "cdef", [MASK, ~MASK]
        ),
        12,
    ),
    "layer_separation": (
        lambda: plots.layer_separation(
            _numbers(12), _numbers(12), _numbers(12, 6), _numbers(12), 0.6
        ),
        2,
    ),
    "mask_on_its_way": (
        lambda: plots.mask_on_its_way(
            IMAGE, MASK, [torch.eye(12).bool(), torch.eye(3).bool()]
        ),
        4,
    ),
    "parameter_bars": (lambda: plots.parameter_bars({"a": 7, "b": 29_058}), 1),
    "fitting": (lambda: plots.fitting([], 10), 1),
    "token_map_rows": (
        lambda: plots.token_map_rows(
            *([(IMAGE, IMAGE)] * 2, [MASK, MASK]),
            *(_numbers(2, 2, 12, 12), _numbers(2, 2, 12, 12), _numbers(2, 96, 96)),
            "ab",
        ),
        14,
    ),
    "token_maps": (
        lambda: plots.token_maps(
            *([(IMAGE, IMAGE)] * 2, [MASK, MASK], [MASK, MASK]),
            *(_numbers(2, 2, 12, 12), _numbers(2, 96, 96), "ab"),
        ),
        10,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_closed_and_of_fixed_make(name):
    make, axes = FIGURES[name]
    before = plt.get_fignums()
    fig = make()
    assert plt.get_fignums() == before, "an open figure is shown twice in a notebook"
    assert len(fig.axes) == axes
    fig.canvas.draw()


def test_the_frame_is_around_the_patch():
    fig = plots.patch_view(IMAGE, IMAGE, _numbers(12, 12), (3, 5), (12, 12))
    frame = fig.axes[0].patches[-1]
    assert frame.get_xy() == (5 * 8 - 0.5, 3 * 8 - 0.5)
    assert (frame.get_width(), frame.get_height()) == (8, 8)


def test_frames_follow_grids_that_are_not_square():
    fig = plots.patch_view(IMAGE, IMAGE, _numbers(12, 12), (5, 23), (6, 24))
    frame = fig.axes[0].patches[-1]
    right, bottom = frame.get_x() + frame.get_width(), frame.get_y()
    assert right == 95.5
    assert bottom + frame.get_height() == 95.5


def test_a_map_covers_its_image_and_states_its_range():
    values = torch.tensor([[-0.25, 0.5], [0.0, 0.75]])
    fig = plots.patch_view(IMAGE, IMAGE, values, (0, 0), (12, 12))
    axis = fig.axes[2]
    shown = axis.images[1]
    assert shown.get_extent() == [-0.5, 95.5, 95.5, -0.5]
    assert np.allclose(shown.get_array(), values)
    assert (shown.norm.vmin, shown.norm.vmax) == (-0.25, 0.75)
    assert axis.get_xlabel() == "-0.25 to 0.75"


def test_rows_of_a_column_share_a_scale_and_columns_do_not():
    maps = torch.stack([torch.full((2, 4, 4), 0.2), torch.full((2, 4, 4), 0.9)])
    maps[:, 1] += 5
    fig = plots.query_map_rows([(IMAGE, IMAGE)] * 2, maps, "ab", "cd")
    scales = [
        (axis.images[1].norm.vmin, axis.images[1].norm.vmax)
        for axis in fig.axes
        if len(axis.images) == 2
    ]
    assert scales[0] == scales[2] == pytest.approx((0.2, 0.9))
    assert scales[1] == scales[3] == pytest.approx((5.2, 5.9))


def test_layers_count_from_one():
    fig = plots.layer_separation(
        _numbers(5), _numbers(5), _numbers(5, 2), _numbers(5), 0.7
    )
    left, right = fig.axes
    assert left.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["one head", "all channels at once", "raw pixels"]


def test_open_keys_are_painted_where_they_lie():
    keys = torch.zeros(3, 3, dtype=torch.bool)
    keys[2, 0] = True
    fig = plots.mask_on_its_way(IMAGE, MASK, [keys])
    painted = fig.axes[2].images[0].get_array() - correlation.picture(IMAGE)
    changed = np.abs(painted).sum(2) > 1e-6
    assert changed[64:, :32].all()
    changed[64:, :32] = False
    assert not changed.any()
    assert fig.axes[2].get_title() == "keys of layer 1: 1 of 9"


def test_keys_that_do_not_divide_the_image_fit_too():
    image = torch.zeros(3, 100, 100)
    mask = torch.ones(100, 100, dtype=torch.bool)
    fig = plots.mask_on_its_way(image, mask, [torch.ones(12, 12, dtype=torch.bool)])
    assert fig.axes[2].images[0].get_array().shape == (100, 100, 3)


def test_the_live_axis_stands_still_while_losses_come():
    few = plots.fitting([(0.8, 0.7, 0.7)], 50)
    many = plots.fitting([(0.8, 0.7, 0.7), (0.1, 0.2, 0.08)], 50)
    assert few.axes[0].get_xlim() == many.axes[0].get_xlim() == (0, 50)
    assert few.axes[0].get_ylim() == many.axes[0].get_ylim()
    assert few.get_size_inches().tolist() == many.get_size_inches().tolist()
    together = many.axes[0].lines[2]
    assert together.get_label() == "together (7)"
    assert together.get_ydata().tolist() == [0.8, 0.1]


def test_token_maps_are_in_the_order_of_their_titles():
    before = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), 2.0)])[None]
    after = before + 2
    fig = plots.token_map_rows(
        [(IMAGE, IMAGE)], [MASK], before, after, _numbers(1, 96, 96), ["a"]
    )
    values = [axis.images[1].get_array().mean() for axis in fig.axes[2:6]]
    assert values == [1, 2, 3, 4]
    assert fig.axes[4].get_title() == "classification\nmap, after"
    prediction = fig.axes[6].images[1].norm
    assert (prediction.vmin, prediction.vmax) == (0, 1)
    assert learner.MASK > 0.5
