"""Figures of images, attention and pseudo-masks: what they show, not how it looks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made import CLASS_NAMES, made_voc
from matplotlib.colors import to_rgb

from cstlib import plots
from cstlib.data.voc import VocDataset
from cstlib.plots.images import painted
from cstlib.plots.style import CLASSES, QUERY, SUPPORT


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> VocDataset:
    root = made_voc(tmp_path_factory.mktemp("made") / "voc", 120)
    return VocDataset(root, 0, "val", 96, CLASS_NAMES)


@pytest.fixture(autouse=True)
def no_open_figures():
    """A figure that stays open would be shown twice in a notebook."""
    plt.close("all")
    yield
    assert not plt.get_fignums()


def titles(figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 3), (3, 2)])
def test_an_episode_shows_query_labels_and_all_supports(dataset, way, shot):
    figure = plots.episode(dataset.episode(2, way, shot), dataset.class_names)
    assert len(figure.axes) == 2 + way * shot
    assert titles(figure)[:2] == ["query", "query's labels"]
    frames = [to_rgb(a.spines["left"].get_edgecolor()) for a in figure.axes]
    assert frames == [to_rgb(QUERY)] * 2 + [to_rgb(SUPPORT)] * way * shot


def test_an_episode_says_which_classes_are_present(dataset):
    for index in range(6):
        episode = dataset.episode(index, way=2)
        said = titles(plots.episode(episode, dataset.class_names))[2:]
        for title, c, there in zip(said, episode.support_classes, episode.presence):
            assert dataset.class_names[c] in title
            assert title.endswith("(present)" if there else "(absent)")


def test_an_unmasked_episode_gives_no_answer_away(dataset):
    figure = plots.episode(dataset.episode(0), dataset.class_names, masked=False)
    assert len(figure.axes) == 2
    assert not any("present" in t or "absent" in t for t in titles(figure))
    blind = plots.episode(dataset.episode(0, masks=False), dataset.class_names)
    assert len(blind.axes) == 2


def test_an_episode_does_not_change(dataset):
    episode = dataset.episode(1)
    before = episode.query_image.clone(), episode.query_mask.clone()
    plots.episode(episode, dataset.class_names)
    assert torch.equal(episode.query_image, before[0])
    assert torch.equal(episode.query_mask, before[1])


def test_painted_shows_classes_void_and_faded_ground():
    labels = np.array([[0, 1], [2, 255]])
    found = painted(np.zeros((2, 2, 3)), labels)
    np.testing.assert_allclose(found[0, 0], 0.55)
    np.testing.assert_allclose(found[0, 1], 0.7 * np.array(to_rgb(CLASSES[0])))
    np.testing.assert_allclose(found[1, 0], 0.7 * np.array(to_rgb(CLASSES[1])))
    np.testing.assert_allclose(found[1, 1], 1.0)


def test_labels_of_another_size_than_the_input_are_shown(tmp_path):
    wide = VocDataset(
        made_voc(tmp_path / "wide", 40, (80, 120)), 0, "val", 96, CLASS_NAMES
    )
    figure = plots.episode(wide.episode(0), wide.class_names)
    assert figure.axes[1].images[0].get_array().shape == (80, 120, 3)


def test_a_gallery_fills_rows_and_leaves_the_rest_blank():
    images = [torch.rand(3, 8, 8) for _ in range(5)]
    figure = plots.gallery(images, list("abcde"), columns=3)
    assert titles(figure) == ["a", "b", "c", "d", "e", ""]
    assert [len(axis.images) for axis in figure.axes] == [1] * 5 + [0]


def test_folds_frame_only_what_is_held_out():
    examples = {c: torch.rand(3, 8, 8) for c in range(1, 7)}
    names = {c: f"class {c}" for c in examples}
    figure = plots.folds(examples, names, [(1, 2), (3, 4), (5, 6)], fold=1)
    framed = [axis.spines["left"].get_visible() for axis in figure.axes]
    assert framed == [False, False, True, True, False, False]
    roles = [a.get_ylabel().split("\n")[1] for a in figure.axes if a.get_ylabel()]
    assert roles == ["trained on", "tested on", "trained on"]


def test_supervision_shows_no_mask_one_mask_and_all():
    images = [torch.rand(3, 8, 8) for _ in range(4)]
    masks = [torch.ones(8, 8, dtype=torch.bool)] * 4
    figure = plots.supervision(images, ["a", "b", "c", "d"], masks)
    shown = ["+ mask" in title for title in titles(figure)]
    assert shown == [False] * 4 + [True] + [False] * 3 + [True] * 4
    hidden = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(hidden, images[0].permute(1, 2, 0), atol=1e-6)


def test_masks_beside_their_image():
    label = torch.zeros(8, 8, dtype=torch.bool)
    figure = plots.masks(torch.rand(3, 8, 8), {"one": label, "two": ~label})
    assert titles(figure) == ["image", "one", "two"]


def test_iou_by_hand_marks_both_darker_than_either():
    one = torch.tensor([[True, True, False]])
    other = torch.tensor([[False, True, True]])
    figure = plots.iou_by_hand(one, other)
    last = figure.axes[2].images[-1].get_array()[0]
    assert last[1].sum() < last[0].sum() == pytest.approx(last[2].sum())


def test_attention_has_a_row_a_backbone_and_a_mean():
    maps = {"a": torch.rand(6, 12, 12), "b": torch.rand(6, 12, 12)}
    figure = plots.attention(torch.rand(3, 96, 96), maps)
    assert len(figure.axes) == 2 * 8
    shown = figure.axes[7].images[0].get_array()
    np.testing.assert_allclose(shown, maps["a"].mean(0), atol=1e-6)
    assert len(plots.attention(torch.rand(3, 96, 96), maps, mean=False).axes) == 14


def test_attention_place_lies_over_the_whole_image():
    figure = plots.attention_place(torch.rand(3, 96, 80), torch.rand(12, 10), "block 1")
    assert "block 1" in titles(figure)
    grey, heat = figure.axes[2].images
    assert tuple(heat.get_extent()) == tuple(grey.get_extent())


def test_attention_share_draws_every_head_of_every_backbone():
    figure = plots.attention_share({"a": [1.5, 0.5, 2.0], "b": [1.0, 1.1, 0.9]})
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [1.5, 0.5, 2.0, 1.0, 1.1, 0.9]


@pytest.mark.parametrize("steps", [0, 1, 30])
def test_live_pretraining_can_be_drawn_at_any_time(steps):
    values = list(np.linspace(5, 4, steps))
    figure = plots.live_pretraining(values, values, values, 30, 32)
    assert len(figure.axes) == 3
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), values)
    assert figure.axes[0].get_xlim() == (1, 30)


def test_pretraining_course_reads_the_record_with_its_controls():
    row = {"self_iou_all_foreground": 0.24, "cross_iou_all_foreground": 0.15}
    keys = ("self_iou", "cross_iou", "nearest_neighbour", "matching_auc")
    probe = [
        {"images_seen": 1000 * n, **dict.fromkeys(keys, 0.1 * n), **row}
        for n in (1, 2, 3)
    ]
    figure = plots.pretraining_course(probe, classes=20)
    levels = [axis.lines[1].get_ydata()[0] for axis in figure.axes]
    assert levels == [0.24, 0.15, 0.05, 0.5]
    for axis in figure.axes:
        np.testing.assert_allclose(axis.lines[0].get_xdata(), [1, 2, 3])


def test_pretraining_course_leaves_out_what_was_not_measured():
    row = {"self_iou_all_foreground": 0.24, "cross_iou_all_foreground": 0.15}
    first = {"images_seen": 1000, "self_iou": 0.3, "cross_iou": 0.2, **row}
    last = {**first, "images_seen": 2000, "nearest_neighbour": 0.4, "matching_auc": 0.8}
    figure = plots.pretraining_course([first, last], classes=20)
    assert [len(axis.lines[0].get_xdata()) for axis in figure.axes] == [2, 2, 1, 1]


def test_mask_steps_names_the_threshold():
    image, mask = torch.rand(3, 96, 96), torch.ones(96, 96, dtype=torch.bool)
    figure = plots.mask_steps(
        image, torch.rand(12, 12), torch.rand(96, 96), mask, 0.456
    )
    assert "above 0.46" in titles(figure)


def test_threshold_sweep_holds_curves_and_controls():
    thresholds = [0.3, 0.4, 0.5]
    curves = {"dino": [0.2, 0.6, 0.1], "random": [0.2, 0.2, 0.1]}
    figure = plots.threshold_sweep(thresholds, curves, 0.2, 0.4)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["dino", "random", "all foreground", "kept with the weights"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), curves["dino"])
    styles = [line.get_linestyle() for line in figure.axes[0].lines[:2]]
    assert styles == ["-", "--"]


def test_threshold_view_counts_the_iou_it_shows():
    soft = torch.tensor([[0.2, 0.6], [0.7, 0.4]])
    truth = torch.tensor([[False, True], [False, True]])
    figure = plots.threshold_view(torch.rand(3, 2, 2), soft, truth, 0.5)
    assert "pseudo-mask: IoU 0.33" in titles(figure)


def test_threshold_view_survives_empty_masks():
    soft, truth = torch.rand(4, 4), torch.zeros(4, 4, dtype=torch.bool)
    figure = plots.threshold_view(torch.rand(3, 4, 4), soft, truth, 1.0)
    assert "pseudo-mask: IoU 0.00" in titles(figure)


def test_pseudo_mask_rows_have_one_row_a_source():
    images = [torch.rand(3, 8, 8) for _ in range(3)]
    masks = [torch.rand(8, 8) > 0.5 for _ in range(3)]
    figure = plots.pseudo_mask_rows(
        images, {"drawn": masks, "made": masks}, list("xyz")
    )
    assert titles(figure) == ["x", "y", "z"] + [""] * 6
    labels = [axis.get_ylabel() for axis in figure.axes[::3]]
    assert labels == ["image", "drawn", "made"]


def test_attention_over_training_shares_a_scale_within_an_image():
    maps = {0: torch.zeros(2, 12, 12), 500: torch.linspace(-1, 1, 288).view(2, 12, 12)}
    figure = plots.attention_over_training(torch.rand(2, 3, 96, 96), maps)
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["image", "step 0", "step 500"] and len(figure.axes) == 6
    for row in (figure.axes[1:3], figure.axes[4:6]):
        scales = {axis.images[0].get_clim() for axis in row}
        assert len(scales) == 1


def test_an_answer_shows_which_classes_cross_the_line():
    image, labels = torch.rand(3, 8, 8), torch.randint(0, 3, (8, 8))
    prob = {"key": 0.7, "mug": 0.4}
    figure = plots.answer(image, labels, prob, 0.5, {"key": False, "mug": True})
    bars = figure.axes[2].patches
    assert [bar.get_width() for bar in bars] == [0.7, 0.4]
    assert to_rgb(bars[0].get_facecolor()[:3]) == to_rgb(CLASSES[0])
    assert to_rgb(bars[1].get_facecolor()[:3]) != to_rgb(CLASSES[1])
    names = [t.get_text() for t in figure.axes[2].get_yticklabels()]
    assert names == ["key", "mug ✓"]


def test_shots_stand_below_one_another():
    pair = torch.rand(3, 8, 8), torch.eye(8, dtype=torch.bool)
    figure = plots.shots({"given": [pair] * 3, "pseudo": [pair] * 3}, list("abc"))
    assert titles(figure)[:3] == ["a", "b", "c"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["given", "pseudo"]
