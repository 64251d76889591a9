"""Data of one's own: both layouts, the defaults, and world.json."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from made import CLASS_NAMES, is_one_sentence, made_voc
from made_own import NAMES, own_coco, own_voc
from PIL import Image

from cstlib import files
from cstlib.data import own
from cstlib.data.own import prepare_own
from cstlib.errors import CstlibError
from cstlib.worlds import load_world

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("CSTLIB_WORLD", raising=False)
    return tmp_path / "home"


def state(folder):
    return sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))


def test_a_voc_folder_by_default(tmp_path, home):
    root = own_voc(tmp_path / "My birds")
    before = state(root)
    world = load_world(str(root))
    assert state(root) == before
    assert (world.name, world.protocol, world.n_folds) == ("My_birds", "pascal", 2)
    assert (world.image_size, world.backbone) == (400, "dino-vits8")
    assert world.class_names == ("class 1", "class 2", "class 3", "class 4")
    assert world.root.parent == home / "prepared"
    train, test = world.dataset(0, "trn"), world.dataset(0, "val")
    assert (train.classes, test.classes) == ([3, 4], [1, 2])
    # Every fifth image by name is for validation.
    names = {name for f in (0, 1) for name in world.dataset(f, "val").names}
    assert names == {f"photo_{i:02d}" for i in (4, 9, 14, 19)}
    episode = train.load(next(train.training_plans(1, 0)), training=True)
    assert episode.query_image.shape == (3, 400, 400)


def test_splits_of_a_voc_folder_are_kept(tmp_path):
    world = load_world(str(own_voc(tmp_path / "birds", splits=True)))
    names = {name for f in (0, 1) for name in world.dataset(f, "val").names}
    assert names == {f"photo_{i:02d}" for i in range(12, 20)}


@pytest.mark.parametrize("places", ["", "images", "../images", ".."])
def test_a_json_by_default(tmp_path, places):
    path = own_coco(tmp_path / "data" / "annotations", places=places)
    before = state(tmp_path / "data")
    world = load_world(str(path))
    assert state(tmp_path / "data") == before
    assert (world.name, world.protocol, world.n_folds) == ("birds", "coco", 2)
    assert world.class_names == NAMES
    train, test = world.dataset(1, "trn"), world.dataset(1, "val")
    # COCO's rule: every second class of two folds.
    assert (train.classes, test.classes) == ([1, 3], [2, 4])
    assert train.images_of_class[1] == ["photo_00", "photo_08", "photo_12", "photo_16"]
    mask = train.mask("photo_02")
    assert (mask == 3).sum() == 400 and (mask > 0).sum() == 400
    assert train.image("photo_02").shape == (3, 400, 400)
    assert train.present_classes("photo_02") == {3}


def test_world_json_says_what_differs(tmp_path):
    own_coco(tmp_path / "data" / "notes", places="../pictures", json_name="a.json")
    own_coco(tmp_path / "more", images=8, json_name="b.json")
    for i in range(8):
        shutil.move(
            tmp_path / f"more/images/photo_{i:02d}.JPG",
            tmp_path / f"data/pictures/other_{i:02d}.JPG",
        )
    text = (
        (tmp_path / "more/b.json")
        .read_text(encoding="utf-8")
        .replace("photo_", "other_")
    )
    (tmp_path / "data/notes/b.json").write_text(text, encoding="utf-8")
    settings = {
        "name": "waders",
        "train": "notes/a.json",
        "val": "notes/b.json",
        "images": "pictures",
        "classes": ["ibis", "heron", "stork"],
        "folds": [["stork", "ibis"], [2]],
        "protocol": "pascal",
        "least": 401,
        "image_size": 48,
        "backbone": "random-mini",
    }
    files.write_json(tmp_path / "data" / "world.json", settings)
    world = load_world(str(tmp_path / "data"))
    assert (world.name, world.protocol, world.n_folds) == ("waders", "pascal", 2)
    assert (world.image_size, world.backbone) == (48, "random-mini")
    assert world.class_names == ("ibis", "heron", "stork")
    assert world.dataset(0, "val").classes == [1, 3]
    # 400 pixels are one too few.
    assert world.dataset(0, "val").entries == []
    files.write_json(tmp_path / "data" / "world.json", {**settings, "least": 0.2})
    world = load_world(str(tmp_path / "data" / "world.json"))
    test = world.dataset(0, "val")
    assert test.images_of_class == {
        1: ["other_03", "other_07"],
        3: ["other_01", "other_05"],
    }
    # The category that was not chosen is in no mask, nor its images in any list.
    train = world.dataset(1, "trn")
    assert "photo_02" not in train.names and "other_02" not in test.names
    assert np.unique(train.mask("photo_00")).tolist() == [0, 2]
    assert world.dataset(1, "trn").images_of_class[1] == [
        f"photo_{i:02d}" for i in range(3, 20, 4)
    ]


def test_world_json_of_a_voc_folder(tmp_path):
    root = own_voc(tmp_path / "birds")
    (root / "mine.txt").write_text(
        "photo_00\nphoto_01\nphoto_02\nphoto_03\n", encoding="utf-8"
    )
    (root / "yours.txt").write_text(
        "photo_05 photo_06 photo_07 photo_08", encoding="utf-8"
    )
    settings = {
        "train": "mine.txt",
        "val": "yours.txt",
        "classes": list(NAMES),
        "folds": 4,
        "protocol": "coco",
    }
    files.write_json(root / "world.json", settings)
    world = load_world(str(root))
    assert (world.protocol, world.n_folds) == ("coco", 4)
    assert world.dataset(1, "val").images_of_class == {2: ["photo_05"]}
    assert world.dataset(1, "trn").names == ["photo_00", "photo_02", "photo_03"]


def test_prepared_data_are_found_again_until_they_change(tmp_path, monkeypatch):
    root, path = own_voc(tmp_path / "birds"), own_coco(tmp_path / "coco")
    first = prepare_own(root), prepare_own(path)
    with monkeypatch.context() as patch:
        patch.setattr("cstlib.data.own.write_prepared", None)
        assert (prepare_own(root), prepare_own(path)) == first
    mask = root / "SegmentationClass" / "photo_00.png"
    Image.fromarray(np.full((40, 50), 2, np.uint8)).save(mask)
    os.utime(mask, (1, 1))
    path.write_text(
        path.read_text(encoding="utf-8").replace("heron", "egret"), encoding="utf-8"
    )
    second = prepare_own(root), prepare_own(path)
    assert first[0] != second[0] and first[1] != second[1]
    assert load_world(str(path)).class_names[0] == "egret"
    assert load_world(str(root)).dataset(0, "trn").present_classes("photo_00") == {2}


def test_what_another_process_prepared_meanwhile_stays(tmp_path, monkeypatch):
    """Several processes of one run may all find that the data are not prepared."""
    root = own_voc(tmp_path / "birds")
    scan = own.list_rule.scan_masks
    nested = []

    def slow(*args):
        if not nested:
            nested.append(True)
            first = prepare_own(root)
            (first / "used by the first").touch()
        return scan(*args)

    monkeypatch.setattr(own.list_rule, "scan_masks", slow)
    found = prepare_own(root)
    assert (found / "used by the first").exists() and (found / "meta.json").is_file()
    assert [*found.parent.iterdir()] == [found]


def test_a_prepared_folder_is_used_as_it_is(tmp_path, home):
    root = made_voc(tmp_path / "made", 20, 32)
    before = state(root)
    world = load_world(str(root))
    assert world.root == root and state(root) == before and not home.exists()
    assert (world.name, world.n_folds, world.class_names) == (
        "made",
        4,
        tuple(CLASS_NAMES),
    )
    assert world.dataset(3, "val").classes == [16, 17, 18, 19, 20]
    (root / "meta.json").unlink()
    assert load_world(str(root)).class_names[19] == "class 20"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda p: p.unlink(), "no data at"),
        (lambda p: shutil.rmtree(p.parent / "images"), "are not beside it"),
        (
            lambda p: (p.parent / "images/photo_07.JPG").unlink(),
            "photo_07.JPG .* not in",
        ),
        (lambda p: p.write_text("[]", encoding="utf-8"), "not in COCO's format"),
    ],
)
def test_a_wrong_json_is_one_sentence(tmp_path, home, damage, words):
    path = own_coco(tmp_path / "data")
    damage(path)
    with pytest.raises(CstlibError, match=words) as caught:
        load_world(str(path))
    assert is_one_sentence(caught.value)
    assert not (home / "prepared").exists() or not any((home / "prepared").iterdir())


def test_a_wrong_folder_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    both = own_voc(tmp_path / "both", splits=True)
    (both / "ImageSets/Segmentation/val.txt").write_text("photo_00", encoding="utf-8")
    for path, words in (
        (tmp_path / "empty", "neither JPEGImages nor"),
        (tmp_path / "missing" / "folder", "no data at"),
        (both, "photo_00 is both in"),
        ("birds", "no world 'birds'"),
    ):
        with pytest.raises(CstlibError, match=words) as caught:
            load_world(str(path))
        assert is_one_sentence(caught.value)
