"""The protocol that draws episodes, against a slow spelling and known answers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import is_one_sentence

from cstlib.data.lists import fold_classes, images_by_class
from cstlib.data.sampler import (
    draw_coco_episode,
    draw_pascal_episode,
    epoch_length,
    training_plans,
)
from cstlib.errors import CstlibError

SETTINGS = [(1, 1), (2, 1), (1, 5), (5, 1), (3, 2), (5, 5)]
INDICES = [0, 1, 2, 39, 57, 500, 999]


def pascal_entries() -> list[tuple[str, int]]:
    """Forty images of classes 6..10; every third one has a second class."""
    pairs = {(f"img_{i:03d}", 6 + i % 5) for i in range(40)}
    pairs |= {(f"img_{i:03d}", 6 + (i // 3) % 5) for i in range(0, 40, 3)}
    return sorted(pairs)


def coco_images() -> dict[int, list[str]]:
    """The twenty classes of COCO's fold 1, with 8 to 14 images each, not sorted."""
    return {
        c: [f"val2014/{(37 * k + 11 * c) % 1000:06d}.jpg" for k in range(8 + c % 7)]
        for c in range(2, 81, 4)
    }


def slow_episode(entries, images_of_class, index, way, shot):
    """The protocol as its sentences say it, with NumPy's own global generator."""
    state = np.random.get_state()
    try:
        np.random.seed(index)
        classes = list(images_of_class)
        if entries is None:
            query_class = np.random.choice(classes, 1, replace=False)[0]
            query = np.random.choice(images_of_class[query_class], 1, replace=False)[0]
        else:
            query, query_class = entries[index % len(entries)]
        weights = np.full(len(classes), 0.5 / (len(classes) - 1))
        weights[classes.index(query_class)] = 0.5
        drawn = np.random.choice(classes, way, p=weights, replace=False)
        supports = []
        for c in drawn:
            names = []
            while len(names) < shot:
                name = np.random.choice(images_of_class[c], 1, replace=False)[0]
                if name != query and name not in names:
                    names.append(name)
            supports.append(tuple(names))
        return query, query_class, tuple(drawn), tuple(supports)
    finally:
        np.random.set_state(state)


def as_tuple(plan):
    return plan.query, plan.query_class, plan.support_classes, plan.supports


@pytest.mark.parametrize("way, shot", SETTINGS)
def test_pascal_follows_the_protocol(way, shot):
    entries = pascal_entries()
    images = images_by_class(entries)
    for index in INDICES:
        plan = draw_pascal_episode(entries, images, index, way, shot)
        assert as_tuple(plan) == slow_episode(entries, images, index, way, shot)
        assert (plan.index, plan.way, plan.shot) == (index, way, shot)


@pytest.mark.parametrize("way, shot", SETTINGS)
def test_coco_follows_the_protocol(way, shot):
    images = coco_images()
    for index in INDICES:
        plan = draw_coco_episode(images, index, way, shot)
        assert as_tuple(plan) == slow_episode(None, images, index, way, shot)


# Computed once with `slow_episode`: (index, way, shot), the query, its class, and the
# numbers in the names of the supports of each class.
PASCAL_ANSWERS = [
    ((0, 1, 1), "img_000", 6, {7: [16]}),
    ((1, 1, 1), "img_001", 7, {7: [6]}),
    ((999, 1, 1), "img_024", 9, {9: [18]}),
    ((0, 2, 1), "img_000", 6, {7: [31], 8: [21]}),
    ((57, 1, 5), "img_005", 6, {6: [20, 10, 30, 25, 0]}),
    ((3, 3, 2), "img_003", 7, {7: [36, 1], 8: [7, 36], 9: [28, 24]}),
]
COCO_ANSWERS = [
    ((0, 1, 1), "val2014/000888.jpg", 74, {54: [1]}),
    ((1, 1, 1), "val2014/000339.jpg", 14, {14: [413]}),
    ((999, 1, 1), "val2014/000663.jpg", 30, {42: [684]}),
    ((0, 2, 1), "val2014/000888.jpg", 74, {54: [742], 74: [851]}),
    ((57, 1, 5), "val2014/000413.jpg", 14, {14: [376, 191, 154, 228, 265]}),
    (
        (3, 3, 2),
        "val2014/000786.jpg",
        58,
        {58: [712, 934], 38: [677, 640], 22: [390, 316]},
    ),
]


@pytest.mark.parametrize("setting, query, query_class, numbers", PASCAL_ANSWERS)
def test_pascal_known_answers(setting, query, query_class, numbers):
    entries = pascal_entries()
    plan = draw_pascal_episode(entries, images_by_class(entries), *setting)
    supports = tuple(tuple(f"img_{n:03d}" for n in row) for row in numbers.values())
    assert as_tuple(plan) == (query, query_class, tuple(numbers), supports)


@pytest.mark.parametrize("setting, query, query_class, numbers", COCO_ANSWERS)
def test_coco_known_answers(setting, query, query_class, numbers):
    plan = draw_coco_episode(coco_images(), *setting)
    supports = tuple(
        tuple(f"val2014/{n:06d}.jpg" for n in row) for row in numbers.values()
    )
    assert as_tuple(plan) == (query, query_class, tuple(numbers), supports)


@st.composite
def folds(draw):
    """A fold's lists with K + 1 images or more in each class, and N and K."""
    classes = draw(st.lists(st.integers(1, 80), min_size=1, max_size=6, unique=True))
    shot = draw(st.integers(1, 4))
    pool = [f"image_{n}" for n in range(12)]
    entries = []
    for c in sorted(classes):
        names = st.lists(st.sampled_from(pool), min_size=shot + 1, unique=True)
        entries += [(name, c) for name in draw(names)]
    return entries, draw(st.integers(1, len(classes))), shot


@settings(deadline=None, max_examples=150)
@given(folds(), st.integers(0, 2**32 - 1), st.booleans())
def test_every_episode_is_well_formed(fold, index, coco):
    entries, way, shot = fold
    images = images_by_class(entries)
    before = np.random.get_state()[1].copy()
    if coco:
        plan = draw_coco_episode(images, index, way, shot)
        again = draw_coco_episode(images, index, way, shot)
    else:
        plan = draw_pascal_episode(entries, images, index, way, shot)
        again = draw_pascal_episode(entries, images, index, way, shot)
        assert (plan.query, plan.query_class) == entries[index % len(entries)]
    assert plan == again
    assert np.array_equal(before, np.random.get_state()[1])
    assert plan.query in images[plan.query_class]
    assert len(set(plan.support_classes)) == way == len(plan.supports)
    for c, names in zip(plan.support_classes, plan.supports, strict=True):
        assert len(set(names)) == shot == len(names)
        assert set(names) <= set(images[c]) - {plan.query}


def test_the_querys_class_is_drawn_half_the_time():
    entries = pascal_entries()
    images = images_by_class(entries)
    plans = [draw_pascal_episode(entries, images, index) for index in range(3000)]
    hits = np.mean([plan.support_classes == (plan.query_class,) for plan in plans])
    assert 0.47 < hits < 0.53
    others = [p.support_classes[0] for p in plans if p.query_class == 6]
    counts = np.array([others.count(c) for c in (7, 8, 9, 10)]) / len(others)
    assert np.all(np.abs(counts - 0.125) < 0.05)


def test_training_walks_every_line_once_an_epoch():
    entries = pascal_entries()
    images = images_by_class(entries)
    length = epoch_length(entries)
    plans = list(training_plans(entries, images, 3 * length, seed=7))
    assert [plan.index for plan in plans] == list(range(3 * length))
    epochs = [
        [(p.query, p.query_class) for p in plans[start : start + length]]
        for start in (0, length, 2 * length)
    ]
    assert all(sorted(epoch) == entries for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert all((plan.way, plan.shot) == (1, 1) for plan in plans)
    assert all(plan.query not in plan.supports[0] for plan in plans)


@pytest.mark.parametrize("protocol", ["pascal", "coco"])
def test_training_resumes_where_it_stopped(protocol):
    entries = [(name, c) for c, names in coco_images().items() for name in names]
    images = images_by_class(entries)

    def run(seed, start=0):
        return list(training_plans(entries, images, 300, seed, protocol, start))

    whole = run(seed=3)
    for start in (1, 57, 299, 300):
        assert run(seed=3, start=start) == whole[start:]
    assert run(seed=4) != whole
    assert run(seed=3) == whole


def test_a_coco_epoch_is_as_long_as_its_unique_images():
    entries = [("a", 1), ("a", 5), ("b", 5)]
    assert epoch_length(entries, "coco") == 2
    assert epoch_length(entries, "pascal") == 3


ENTRIES = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]
IMAGES = images_by_class(ENTRIES)


@pytest.mark.parametrize(
    "draw, words",
    [
        (lambda: draw_pascal_episode(ENTRIES, IMAGES, 0, 3), "3 ways .* 2 classes"),
        (lambda: draw_coco_episode(IMAGES, 0, 3), "3 ways .* 2 classes"),
        (lambda: draw_pascal_episode(ENTRIES, IMAGES, 0, 0), "0 ways and 1 shots"),
        (lambda: draw_pascal_episode(ENTRIES, IMAGES, 0, 1, 0), "1 ways and 0 shots"),
        (lambda: draw_pascal_episode(ENTRIES, IMAGES, 0, 1, 3), "3 .* need 4"),
        (lambda: draw_coco_episode(IMAGES, 0, 1, 3), "Class . has 3 .* need 4"),
        (lambda: draw_coco_episode({1: [], 2: []}, 0), "Class . has 0 .* need 2"),
        (lambda: draw_pascal_episode([("z", 1)], {1: ["a"]}, 0), "has 1 .* need 2"),
        (lambda: draw_pascal_episode([("a", 9)], IMAGES, 0), "class 9, outside"),
        (lambda: draw_pascal_episode([], IMAGES, 0), "list of images is empty"),
        (lambda: next(training_plans([], IMAGES, 9, 0)), "list of images is empty"),
        (lambda: draw_pascal_episode(ENTRIES, IMAGES, -1), "episode number -1"),
        (lambda: draw_coco_episode(IMAGES, 2**32), "episode number 4294967296"),
        (lambda: training_plans(ENTRIES, IMAGES, 9, -1), "seed number -1"),
        (lambda: training_plans(ENTRIES, IMAGES, 9, 0, "lvis"), "protocol 'lvis'"),
        (lambda: images_by_class(ENTRIES, [1, 3]), "a is listed under class 2"),
        (lambda: fold_classes(4), "no fold 4"),
        (lambda: fold_classes(0, "lvis"), "no protocol 'lvis'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(draw, words):
    with pytest.raises(CstlibError, match=words) as caught:
        draw()
    assert is_one_sentence(caught.value)


def test_repeated_names_cannot_make_the_sampler_loop():
    images = {1: ["a"] * 50 + ["b"], 2: ["c", "d", "e"]}
    entries = [("a", 1)]
    with pytest.raises(CstlibError, match="Class 1 has 2 images"):
        for index in range(20):
            draw_pascal_episode(entries, images, index, way=2, shot=2)
    # One support besides the query exists, so one shot is drawn, however rare it is.
    plans = [draw_pascal_episode(entries, images, i, way=2) for i in range(5)]
    assert all("a" not in names for plan in plans for names in plan.supports)


def test_drawing_needs_neither_pixels_nor_models():
    code = (
        "import sys, cstlib.data.sampler, cstlib.data.episode;"
        "print(sorted({'torch', 'PIL', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
