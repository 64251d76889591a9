"""Data of one's own: both layouts, the defaults, and world.json."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made import CLASS_NAMES, is_one_sentence, made_image, made_voc
from made_benchmarks import box
from PIL import Image

from cstlib import files
from cstlib.data import own
from cstlib.data.own import prepare_own
from cstlib.data.world_file import FIELDS, own_folds, read_world_file
from cstlib.errors import CstlibError
from cstlib.worlds import load_world

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
NAMES = ("heron", "stork", "crane", "ibis")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("CSTLIB_WORLD", raising=False)
    return tmp_path / "home"


def own_voc(root, images=20, splits=False):
    """Images of ids 1 to 4 as VOC has them, without few-shot lists."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = []
    for index in range(images):
        image, mask = made_image(index, (40, 50))
        mask = np.where((mask > 0) & (mask < 255), 1 + index % 4, mask)
        names.append(f"photo_{index:02d}")
        Image.fromarray(image).save(root / "JPEGImages" / f"{names[-1]}.jpeg")
        path = root / "SegmentationClass" / f"{names[-1]}.png"
        Image.fromarray(mask.astype(np.uint8)).save(path)
    if splits:
        for split, part in (("train", names[:12]), ("val", names[12:])):
            path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
            path.write_text("\n".join(part), encoding="utf-8")
    return root


def own_coco(folder, images=20, places="images", json_name="birds.json"):
    """A JSON with one large box of a category in each image."""
    folder.mkdir(parents=True)
    (folder / places).mkdir(exist_ok=True)
    content = {
        "images": [
            {"id": i, "file_name": f"photo_{i:02d}.JPG", "height": 40, "width": 50}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 10 * (1 + i % 4),
                "iscrowd": 0,
                "segmentation": box(5, 5, 20, 20),
            }
            for i in range(images)
        ],
        "categories": [
            {"id": 10 * k, "name": name} for k, name in enumerate(NAMES, start=1)
        ],
    }
    for image in content["images"]:
        path = folder / places / image["file_name"]
        Image.new("RGB", (50, 40), (10 * image["id"], 0, 0)).save(path, "JPEG")
    files.write_json(folder / json_name, content)
    return folder / json_name


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
    "given, protocol, expected",
    [
        (None, "pascal", ((1, 2), (3, 4))),
        (None, "coco", ((1, 3), (2, 4))),
        (4, "pascal", ((1,), (2,), (3,), (4,))),
        ([["ibis"], ["stork", 1], [3]], "pascal", ((4,), (1, 2), (3,))),
    ],
)
def test_folds(given, protocol, expected):
    assert own_folds(given, NAMES, protocol) == expected


def test_four_folds_from_eight_classes_on():
    for count, folds in ((2, 2), (3, 2), (7, 3), (8, 4), (20, 4)):
        names = [str(c) for c in range(count)]
        table = own_folds(None, [f"n{name}" for name in names], "pascal")
        assert len(table) == folds
        assert sorted(c for fold in table for c in fold) == list(range(1, count + 1))


@pytest.mark.parametrize(
    "given, words",
    [
        (5, "make no 5 folds"),
        (1, "make no 1 folds"),
        ([["heron"], ["dodo", "stork"]], "class 'dodo'"),
        ([[1, 2], [3, 5]], "class 5"),
        ([[1, 2], [3]], "each of the 4 classes in exactly one"),
        ([[1, 2], [3, 4, 1]], "in exactly one"),
        ([[1, 2, 3, 4]], "two folds or more"),
        ([[1, 2, 3, 4], []], "two folds or more"),
    ],
)
def test_impossible_folds(given, words):
    with pytest.raises(CstlibError, match=words) as caught:
        own_folds(given, NAMES, "pascal")
    assert is_one_sentence(caught.value)
    with pytest.raises(CstlibError, match="make no 2 folds"):
        own_folds(None, ["only"], "pascal")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"fold": 2}, "unknown entry 'fold'"),
        ({"folds": "two"}, "'two' for folds"),
        ({"folds": ["ab", "c"]}, "for folds, which is of the wrong kind"),
        ({"folds": [[["a"]], [1]]}, "for folds, which is of the wrong kind"),
        ({"classes": [1, 2]}, "for classes, which is of the wrong kind"),
        ({"image_size": True}, "True for image_size"),
        ({"protocol": "lvis"}, "protocol 'lvis'"),
        ({"least": 0}, "0 for least"),
        ({"train": "none.txt", "val": "none.txt"}, "none.txt cannot be read"),
        ({"train": "none.json"}, "no file .*none.json"),
        ({"classes": ["a", "b"]}, "value . where there are 2 classes"),
        ({"classes": ["a", "a", "b", "c"]}, "Two classes have one name"),
        ([], "not a JSON object"),
    ],
)
def test_a_wrong_world_json_is_one_sentence(tmp_path, home, settings, words):
    root = own_voc(tmp_path / "birds")
    (root / "world.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CstlibError, match=words) as caught:
        load_world(str(root))
    assert is_one_sentence(caught.value)
    assert not (home / "prepared").exists() or not any((home / "prepared").iterdir())


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


def test_the_documented_example_is_valid(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    example = text.split("```json")[1].split("```")[0]
    (tmp_path / "world.json").write_text(example, encoding="utf-8")
    settings = read_world_file(tmp_path / "world.json")
    assert set(settings) == set(FIELDS) - {"renderer_version"}
    assert own_folds(settings["folds"], settings["classes"], "pascal") == ((1,), (2, 3))
