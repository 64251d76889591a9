"""Reading pictures of any kind, and refusing the rest in a sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import is_one_sentence
from made_support import made_picture
from PIL import Image, ImageOps

from cstlib import user_images
from cstlib.errors import CstlibError
from cstlib.user_images import MOST_PIXELS, UPRIGHT, Picture, picture_of, read_picture

GRADIENT = made_picture(3, (40, 60))  # 60 wide, 40 high


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image).astype(int)


def saved(folder, name, image=GRADIENT, **options):
    path = folder / name
    image.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be so large, and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def icon(png: bytes) -> bytes:
    """An icon that says 16 x 16 and holds another picture."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


@pytest.mark.parametrize(
    "name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.webp", "a.ppm", "a.tga", "a.ico"]
)
def test_formats_are_read_alike(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    if name == "a.ico":
        options = {"sizes": [(60, 40)]}
    found = read_picture(saved(tmp_path, name, **options))
    assert found.size == (40, 60) and found.image.mode == "RGB"
    if name != "a.gif":
        assert np.array_equal(pixels(found), np.asarray(GRADIENT))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_modes_keep_light_and_dark(tmp_path, mode):
    """Left black, right white: in every mode that a camera or a scanner writes."""
    grey = Image.fromarray(np.repeat(np.uint8([[0] * 30 + [255] * 30]), 40, axis=0))
    if mode in ("I;16", "I", "F"):
        levels = np.asarray(grey).astype(np.float32) * 257
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(levels.astype(kind))
    else:
        image = grey.convert("RGB").convert(mode)
    name = "a.jpg" if mode == "YCbCr" else "a.tif"
    found = pixels(read_picture(saved(tmp_path, name, image)))
    assert found[:, :25].max() <= 8 and found[:, 35:].min() >= 247


@pytest.mark.parametrize("limit", [1.0, 255.0, 65535.0, 1e6])
def test_float_pictures_fill_the_range(limit):
    image = Image.fromarray(np.float32([[0, limit / 2, limit], [np.nan, 0, limit]]))
    levels = pixels(picture_of(image))[..., 0]
    assert levels[0].tolist() in ([0, 127, 255], [0, 128, 255]) and levels[1, 0] == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(tmp_path, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((200, 200, 200, 255), (0, 0, 8, 4))
    name = "a.gif" if mode == "P" else "a.png"
    image = image if mode == "P" else image.convert(mode)  # GIF makes a palette
    found = pixels(read_picture(saved(tmp_path, name, image)))
    assert found[6:].min() >= 250
    assert 190 <= found[:3].min() and found[:3].max() <= 210


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_sets_upright(tmp_path, name, orientation):
    """As Pillow's own function does, in all eight ways and three kinds of file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, name, exif=exif)
    with Image.open(path) as file:
        wanted = ImageOps.exif_transpose(file).convert("RGB")
    found = read_picture(path)
    assert found.size == (wanted.height, wanted.width)
    assert found.size == ((60, 40) if orientation > 4 else (40, 60))
    assert np.array_equal(pixels(found), np.asarray(wanted))


def test_broken_exif_spoils_nothing(tmp_path):
    path = saved(tmp_path, "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert read_picture(path).size == (40, 60)


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (9, 9), c) for c in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:])
        red, green, blue = pixels(read_picture(path))[4, 4]
        assert red > 240 and green < 20 and blue < 20


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_large_pictures_are_reduced_but_keep_their_size(tmp_path, monkeypatch, name):
    monkeypatch.setattr(user_images, "WORKING_SIDE", 50)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = made_picture(4, (200, 300)).resize((300, 200))
    found = read_picture(saved(tmp_path, name, image, exif=exif))
    assert found.size == (300, 200)  # upright
    width, height = found.image.size
    assert 25 <= height <= 50 and abs(width - height * 200 / 300) <= 1
    whole = image.transpose(UPRIGHT[6]).resize(found.image.size, Image.Resampling.BOX)
    assert np.abs(pixels(found) - np.asarray(whole)).mean() < 6


@pytest.mark.parametrize("mode", ["P", "1", "LA", "RGBA", "CMYK", "I;16", "F", "I"])
def test_every_mode_can_be_reduced(monkeypatch, mode):
    monkeypatch.setattr(user_images, "WORKING_SIDE", 7)
    if mode in ("I;16", "F", "I"):
        kind = {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]
        image = Image.fromarray(np.full((5, 33), 200, dtype=kind))
    else:
        image = Image.new("RGB", (33, 5), "white").convert(mode)
    found = picture_of(image)
    assert found.size == (5, 33) and found.image.size == (7, 1)
    assert pixels(found).min() >= 199


def test_one_pixel_and_slivers():
    for size in ((1, 1), (1, 3000), (5000, 1)):
        found = picture_of(Image.new("RGB", size, (10, 20, 30)))
        assert found.size == size[::-1]
        assert found.tensor(96).shape == (3, 96, 96)
        assert torch.allclose(found.tensor(96)[2], torch.tensor(30 / 255))
        assert max(found.thumbnail(100).size) <= 100


def test_the_tensor_is_the_loaders(tmp_path):
    """A picture reaches the backbone just as a benchmark's image does."""
    image = made_picture(7, (130, 170))
    wanted = np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR))
    found = picture_of(image).tensor(96)
    assert torch.equal(found, torch.from_numpy(wanted.copy()).permute(2, 0, 1) / 255)


def sentence(path) -> str:
    with pytest.raises(CstlibError) as error:
        read_picture(path)
    assert is_one_sentence(error.value), error.value
    return str(error.value)


def test_what_cannot_be_read_is_said(tmp_path):
    whole = saved(tmp_path, "whole.jpg").read_bytes()
    for name, content, word in (
        ("zero.jpg", b"", "damaged"),
        ("truncated.jpg", whole[: len(whole) // 2], "damaged"),
        ("text.jpg", b"no picture at all", "damaged"),
        ("bomb.png", png_header(60_000, 60_000), "more than the 268,435,456 pixels"),
        ("bomb.ico", icon(png_header(60_000, 60_000)), "more than the 268,435,456"),
        ("hollow.png", png_header(5_000, 5_000), "damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        message = sentence(tmp_path / name)
        assert word in message and name in message
    assert "no file" in sentence(tmp_path / "missing.jpg")
    assert "no file" in sentence(tmp_path / "zero.jpg" / "below.jpg")
    assert "not a file" in sentence(tmp_path)
    (tmp_path / "renamed.png").write_bytes(whole)  # the content counts
    assert read_picture(tmp_path / "renamed.png").size == (40, 60)


def test_the_limit_is_not_pillows(tmp_path, monkeypatch):
    """200 megapixels are a phone's photograph, and no other reader is loosened."""
    limit = Image.MAX_IMAGE_PIXELS
    assert limit * 2 < 200e6 < MOST_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = saved(tmp_path, "a.png")
    assert read_picture(path).size == (40, 60)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(user_images, "MOST_PIXELS", 2398)
    assert "more than the 2,398" in sentence(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a file" in sentence(tmp_path / "pipe.jpg")


def test_a_forbidden_file(tmp_path, monkeypatch):
    path = saved(tmp_path, "a.png")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    assert "may not be read" in sentence(path)


FORMATS = ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "TGA", "PCX"]


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_damaged_files_end_in_a_picture_or_a_sentence(tmp_path, data):
    kind = data.draw(st.sampled_from(FORMATS))
    memory = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    GRADIENT.save(memory, kind, **({"exif": exif} if kind in ("JPEG", "TIFF") else {}))
    content = bytearray(memory.getvalue())
    for _ in range(data.draw(st.integers(0, 8))):
        # Most of what matters is at the beginning.
        place = min(
            data.draw(st.integers(0, len(content) - 1)),
            data.draw(st.integers(0, len(content) - 1)),
        )
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        found = read_picture(path)
    except CstlibError as error:
        assert is_one_sentence(error)
    else:
        assert found.image.mode == "RGB" and min(found.image.size) > 0


def test_a_large_image_in_memory_is_refused_too(monkeypatch):
    monkeypatch.setattr(user_images, "MOST_PIXELS", 100)
    with pytest.raises(CstlibError, match="The image has more than the 100"):
        picture_of(GRADIENT)
