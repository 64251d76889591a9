"""The parts of predicting that need no model: tiles, names, overlays."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from made import is_one_sentence
from PIL import Image

from cstlib.plots.overlay import class_colours, draw_overlay, paint
from cstlib.predicted import ImagePrediction
from cstlib.upsampling import upsampled
from cstlib.user_images import picture_of
from cstlib.user_queries import LONGEST, OutputNames, find_queries, safe_name

# Upsampling in tiles.


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 500),
)
def test_tiles_make_the_whole(maps, small, size, tile):
    torch.manual_seed(0)
    x = torch.randn(maps, *small)
    wanted = F.interpolate(x[None], size, mode="bilinear", align_corners=True)[0]
    found = torch.full_like(wanted, torch.nan)
    for rows, columns, part in upsampled(x, size, tile):
        assert part.numel() <= max(tile, maps)
        found[:, rows, columns] = part
    assert torch.allclose(found, wanted, atol=1e-5)


# Names of what is written.


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=0, max_size=150), max_size=12))
def test_names_are_safe_and_no_two_alike(stems):
    names, taken = OutputNames(), set()
    for stem in stems:
        name = names.take("x/" + stem.replace("\0", "") + ".jpg")
        assert 0 < len(name.encode()) <= LONGEST + 4
        assert not set(name) & set('<>:"/\\|?*\0') and name.isprintable()
        assert name.strip(". ") == name and name.lower().split(".")[0] != "con"
        key = unicodedata.normalize("NFD", name).casefold()
        assert key not in taken
        taken.add(key)


def test_names_stay_readable():
    assert safe_name("Küche (2) 台所") == "Küche (2) 台所"
    assert safe_name("..") == safe_name("") == "image" and safe_name("nul") == "_nul"
    assert safe_name("a\nb\x1b[31m\udcff") == "a_b_[31m\N{REPLACEMENT CHARACTER}"
    names = OutputNames()
    taken = [
        names.take(q) for q in ("a/x.jpg", "b/X.png", "x-2.jpg", Image.new("L", (1, 1)))
    ]
    assert taken == ["x", "X-2", "x-2-2", "image"]


def test_folders_stand_for_their_pictures(tmp_path):
    for name in ("b.JPG", "a.png", "c.heic", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d.png").mkdir()
    found = list(find_queries([tmp_path, tmp_path / "b.JPG", str(tmp_path / "a.png")]))
    names = ("a.png", "b.JPG", "c.heic")
    assert found == [(tmp_path / name, None) for name in names]
    (query, error) = next(find_queries(tmp_path / "d.png"))
    assert query == tmp_path / "d.png" and is_one_sentence(error)


# Pictures.


def test_classes_have_colours_of_their_own():
    colours = class_colours(254)
    assert class_colours(5) == colours[:5]
    assert len(set(colours)) == 254 and min(map(sum, colours)) > 100


def test_paint_marks_the_object_and_nothing_else():
    image = Image.new("RGB", (40, 30), (100, 100, 100))
    labels = np.zeros((60, 80), dtype=np.uint8)  # at twice the size
    labels[20:40, 20:60] = 2
    painted = np.asarray(paint(image, labels, [(255, 0, 0), (0, 0, 250)]))
    assert (painted[:9] == 100).all() and (painted[:, :9] == 100).all()
    assert painted[15, 20].tolist() == [40, 40, 190]  # grey shines through
    assert painted[10, 20].tolist() == [0, 0, 250]  # the outline


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3000, 2), (640, 480)])
@pytest.mark.parametrize("classes", [1, 254])
def test_an_overlay_of_any_size(size, classes):
    picture = picture_of(Image.new("RGB", size, "white"))
    names = [f"class {c} $x^ {'long ' * 40}" for c in range(classes)]
    found = ImagePrediction(
        "q",
        "q",
        {name: i / classes for i, name in enumerate(names)},
        {name: i % 2 == 0 for i, name in enumerate(names)},
        np.ones(picture.size, dtype=np.uint8),
        picture.thumbnail(1600),
    )
    overlay = found.overlay()
    assert overlay.mode == "RGB" and overlay.width >= 240 and overlay.height < 2600
    assert len(overlay.convert("L").getcolors()) > 2
    assert found.label_image().size == size


def test_the_overlay_lists_the_most_probable_first():
    image, labels = Image.new("RGB", (300, 200)), np.zeros((200, 300), dtype=np.uint8)
    one = draw_overlay(image, labels, {"a": 0.1, "b": 0.9}, {"a": False, "b": True})
    other = draw_overlay(image, labels, {"a": 0.9, "b": 0.1}, {"a": True, "b": False})
    first_line = (0, 200, 300, 222)
    assert class_colours(2)[1] in {c for _, c in one.crop(first_line).getcolors(999)}
    assert class_colours(2)[0] in {c for _, c in other.crop(first_line).getcolors(999)}


# Learners that ship.
