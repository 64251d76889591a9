"""The support folder: what is an image, what a mask, and what is refused."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import is_one_sentence
from made_support import made_picture, made_support
from PIL import Image

from cstlib.errors import CstlibError
from cstlib.support_folder import MOST_SHOTS, find_support
from cstlib.user_support import read_support

BOX = Image.new("L", (96, 96))
BOX.paste(255, (30, 30, 70, 70))


def pairs(folder):
    """The found files of the first class, by name: image -> mask."""
    (c, *_) = find_support(folder)
    return {path.name: mask and mask.name for path, mask in c.images}


def refusal(folder) -> str:
    with pytest.raises(CstlibError) as error:
        read_support(find_support(folder), 96)
    assert is_one_sentence(error.value), error.value
    return str(error.value)


@pytest.fixture
def cat(tmp_path):
    """A class folder without anything in it."""
    (tmp_path / "cat").mkdir()
    return tmp_path / "cat"


def test_a_png_is_a_mask_if_its_name_says_so(cat):
    for name in (
        "a.jpg",  # a picture and its mask
        "a.png",
        "b.png",  # a picture that is a PNG, without
        "c.png",  # and with a mask
        "c.mask.png",
        "D.JPG",  # capitals do not matter
        "d.PNG",
        "e.webp",  # the longer name goes with any kind
        "e.MASK.png",
        ".hidden",
        "Thumbs.db",
    ):
        (cat / name).write_bytes(b"")
    assert pairs(cat.parent) == {
        "D.JPG": "d.PNG",
        "a.jpg": "a.png",
        "b.png": None,
        "c.png": "c.mask.png",
        "e.webp": "e.MASK.png",
    }


def test_classes_and_images_are_sorted_by_name(tmp_path):
    made_support(tmp_path / "s", classes=("zebra", "Ant", "ärmel 1"), shots=2)
    found = find_support(tmp_path / "s")
    assert [c.name for c in found] == ["Ant", "zebra", "ärmel 1"]
    assert [path.name for path, _ in found[0].images] == ["0.jpg", "1.jpg"]


def test_given_masks_come_with_their_image(cat):
    made_picture(1).save(cat / "a.png")
    BOX.save(cat / "a.mask.png")
    made_picture(2, (50, 30)).save(cat / "b.jpg")
    one, other = read_support(find_support(cat.parent), 48)
    assert one.pixels.shape == other.pixels.shape == (3, 48, 48)
    assert one.mask.sum() == 20 * 20 and one.mask[15:35, 15:35].all()
    assert other.mask is None and other.thumbnail.size == (30, 50)


def test_what_is_refused_about_files(cat):
    def with_files(*names):
        for path in cat.iterdir():
            path.unlink()
        for index, name in enumerate(names):
            if "mask" in name or (name == "a.png" and names[0] != name):
                BOX.save(cat / name)
            elif name.endswith("txt"):
                (cat / name).write_text("no picture", encoding="utf-8")
            else:
                made_picture(index).save(cat / name)
        return refusal(cat.parent)

    assert "has no image" in with_files()
    assert "belongs to no images" in with_files("a.mask.png")
    assert "belongs to 2 images" in with_files("a.jpg", "a.webp", "a.png")
    assert "masks of one image" in with_files("a.jpg", "a.png", "a.mask.png")
    many = [f"{number}.jpg" for number in range(MOST_SHOTS + 1)]
    assert "has 6 images" in with_files(*many)
    assert "notes.txt" in with_files("a.jpg", "notes.txt")
    made_picture(1).save(cat / "notes.txt", "JPEG")
    (cat / "a.jpg").write_bytes((cat / "a.jpg").read_bytes()[:300])
    assert "a.jpg is damaged" in refusal(cat.parent)


def test_masks_that_do_not_fit_are_refused(cat):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer shows it 96 wide and 60 high
    made_picture(1, (96, 60)).save(cat / "a.jpg", exif=exif)
    BOX.resize((60, 96)).save(cat / "a.png")
    assert "60x96 pixels but its image is 96x60" in refusal(cat.parent)
    BOX.resize((96, 60), Image.Resampling.NEAREST).save(cat / "a.png")
    assert read_support(find_support(cat.parent), 96)[0].mask.any()
    speck = Image.new("L", (960, 960))
    speck.putpixel((5, 5), 255)
    made_picture(1, (960, 960)).save(cat / "a.jpg")
    speck.save(cat / "a.png")
    assert "marks too little" in refusal(cat.parent)


def test_what_is_refused_about_folders(tmp_path):
    root = tmp_path / "s"
    assert "Cannot read the support folder" in refusal(root)
    root.mkdir()
    assert "is empty" in refusal(root)
    made_support(root)
    shutil.copy(root / "key" / "0.jpg", root / "stray.jpg")
    assert "stray.jpg is no folder" in refusal(root)
    (root / "stray.jpg").unlink()
    (root / "key" / "more").mkdir()
    assert "folder inside a class" in refusal(root)
    (root / "key" / "more").rmdir()
    (root / "empty").mkdir()
    assert "empty has no image" in refusal(root)
    (root / "empty").rmdir()
    assert len(find_support(root)) == 2
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert "Cannot read the support folder" in refusal(file)


def test_too_many_classes(tmp_path):
    for number in range(255):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.jpg").write_bytes(b"")
    assert "255 classes" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "0")
    assert len(find_support(tmp_path)) == 254


@pytest.mark.parametrize("names", [("cat", "Cat"), ("é", "e\u0301"), ("ss", "ß")])
def test_two_classes_of_one_name(tmp_path, names):
    for index, name in enumerate(names):
        (tmp_path / name).mkdir(exist_ok=True)
        made_picture(index).save(tmp_path / name / f"{index}.jpg")
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system takes them for one")
    assert "one name" in refusal(tmp_path)


def test_the_same_picture_twice(tmp_path):
    root = made_support(tmp_path / "s", masks=True)
    key, mug = root / "key", root / "mug"
    # Another name and kind of file, the same pixels; in one class even with masks.
    with Image.open(key / "0.jpg") as image:
        image.save(key / "again.bmp")
    shutil.copy(key / "0.png", key / "again.png")
    assert "are the same picture: remove one" in refusal(root)
    for path in key.glob("again.*"):
        shutil.move(path, mug / path.name)
    assert len(read_support(find_support(root), 96)) == 3  # masks tell them apart
    (mug / "again.png").unlink()
    message = refusal(root)
    assert "or give each a mask" in message and "again.bmp" in message


def test_an_unreadable_folder(tmp_path, monkeypatch):
    root = made_support(tmp_path / "s")
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("mug"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    message = refusal(root)
    assert "Cannot read the class folder" in message and "Permission denied" in message


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1
)
ENDS = st.sampled_from(["", ".jpg", ".png", ".mask.png", ".PNG", ".mask.PNG", "."])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(NAMES, ENDS), max_size=8), NAMES)
def test_names_of_any_kind_are_found_or_refused(tmp_path, names, class_name):
    root = tmp_path / "fuzz"
    shutil.rmtree(root, ignore_errors=True)
    folder = root / class_name[:40]
    try:
        folder.mkdir(parents=True)
        for stem, end in names:
            (folder / (stem[:40] + end)).write_bytes(b"")
    except (OSError, ValueError):
        return  # no such name on this system, or ".."
    try:
        found = find_support(root)
    except CstlibError as error:
        assert is_one_sentence(error)
        return
    (c,) = found
    assert c.name.isprintable()
    visible = {n for n in os.listdir(folder) if not n.startswith(".")}
    files = [p.name for pair in c.images for p in pair if p]
    assert sorted(files) == sorted(visible) and 1 <= len(c.images) <= MOST_SHOTS
