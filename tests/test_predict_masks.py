"""Reading masks as people draw them, and refusing the rest in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from made import is_one_sentence
from made_support import made_picture
from PIL import Image

from cstlib.errors import CstlibError
from cstlib.user_masks import read_mask

BOX = np.zeros((40, 60), dtype=bool)
BOX[10:30, 20:50] = True


def mask_file(folder, image) -> np.ndarray:
    path = folder / "mask.png"
    image.save(path)
    return read_mask(path, (40, 60))


def test_masks_as_people_draw_them(tmp_path):
    white = Image.fromarray((255 * BOX).astype(np.uint8))
    void = np.where(BOX, 7, 0).astype(np.uint8)
    void[10, 20:50] = 255
    voc = Image.fromarray(void)
    palette = [0] * 768
    palette[21:24], palette[765:768] = (64, 128, 0), (224, 224, 192)
    voc.putpalette(palette)
    red = Image.new("RGB", (60, 40))
    red.paste((255, 0, 0), (20, 10, 50, 30))
    for image in (
        white,
        white.convert("1"),
        white.convert("RGB"),
        white.convert("RGBA"),
        white.convert("P"),
        Image.fromarray(BOX.astype(np.uint8)),  # class id 1
        Image.fromarray(65535 * BOX.astype(np.uint16)),
        red,
    ):
        assert np.array_equal(mask_file(tmp_path, image), BOX), image.mode
    found = mask_file(tmp_path, voc)
    assert not found[10].any() and np.array_equal(found[11:], BOX[11:])


def test_soft_edges_are_cut_half_way(tmp_path):
    levels = (255 * BOX).astype(np.uint8)
    levels[10, 20:50], levels[9, 20:50] = 200, 60
    assert np.array_equal(mask_file(tmp_path, Image.fromarray(levels)), BOX)


def test_what_is_no_mask_is_said(tmp_path):
    white = Image.fromarray((255 * BOX).astype(np.uint8))
    holes = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    ids = np.where(BOX, 7, 0).astype(np.uint8)
    ids[:5] = 9
    several = Image.fromarray(ids)
    photo, colours = made_picture(3, (40, 60)), Image.new("RGB", (60, 40))
    colours.paste((255, 0, 0), (0, 0, 9, 9))
    colours.paste((0, 255, 0), (9, 9, 20, 20))
    for image, word in (
        (photo, "several colours"),
        (photo.convert("L"), "shades of grey"),
        (several, "shades of grey"),
        (colours, "several colours"),
        (holes, "transparent"),
        (Image.new("L", (60, 40)), "all black"),
        (white.resize((30, 20)), "30x20 pixels but its image is 60x40"),
        (white.transpose(Image.Transpose.ROTATE_90), "40x60"),
    ):
        with pytest.raises(CstlibError, match=word) as error:
            mask_file(tmp_path, image)
        assert is_one_sentence(error.value) and "mask.png" in str(error.value)
