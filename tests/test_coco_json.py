"""Masks from COCO's annotations: regions of all kinds, overlaps and crowds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made import is_one_sentence
from pycocotools import mask as rle

from cstlib.data.coco_json import class_mask, read_coco, region_of
from cstlib.errors import CstlibError

H, W = 20, 30

# pycocotools 2.0.11 has not caught up with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def rect(x, y, w, h):
    """The polygon of a rectangle, and its region."""
    region = np.zeros((H, W), dtype=bool)
    region[y : y + h, x : x + w] = True
    return [[x, y, x + w, y, x + w, y + h, x, y + h]], region


def compressed(region):
    code = rle.encode(np.asfortranarray(region, dtype=np.uint8))
    return {"size": [H, W], "counts": code["counts"].decode()}


def run_lengths(region):
    """Uncompressed: runs of 0 and 1 in turn, columns first, beginning with 0."""
    flat = region.flatten(order="F")
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1), flat.size]
    runs = np.diff([0, *ends]).tolist()
    return {"size": [H, W], "counts": [0, *runs] if flat[0] else runs}


def made(number, c, segmentation, crowd=False):
    return {"id": number, "class": c, "segmentation": segmentation, "crowd": crowd}


@pytest.mark.parametrize("place", [(3, 4, 10, 5), (0, 0, 8, 8), (0, 0, W, H)])
def test_regions_of_all_kinds(place):
    polygon, region = rect(*place)
    for segmentation in (polygon, compressed(region), run_lengths(region)):
        assert np.array_equal(region_of(made(1, 1, segmentation), H, W), region)


def test_an_object_in_several_pieces_is_one_region():
    first, a = rect(1, 1, 5, 5)
    second, b = rect(20, 10, 6, 6)
    assert np.array_equal(region_of(made(1, 1, [*first, *second]), H, W), a | b)


def test_the_smaller_object_lies_on_top_whatever_the_order():
    # Its lower id must not put it below.
    big, small = made(2, 7, rect(0, 0, 20, 20)[0]), made(1, 3, rect(5, 5, 4, 4)[0])
    for both in ([big, small], [small, big]):
        mask = class_mask(H, W, both)
        assert mask.dtype == np.uint8 and mask.shape == (H, W)
        assert np.all(mask[5:9, 5:9] == 3) and (mask == 7).sum() == 400 - 16
        assert (mask == 0).sum() == H * W - 400


def test_of_equal_objects_the_higher_id_lies_on_top():
    one, two = made(5, 1, rect(0, 0, 10, 10)[0]), made(9, 2, rect(5, 0, 10, 10)[0])
    for both in ([one, two], [two, one]):
        mask = class_mask(H, W, both)
        assert (mask == 2).sum() == 100 and (mask == 1).sum() == 50


def test_a_crowd_counts_as_its_class_and_lies_beneath():
    crowd = made(9, 4, run_lengths(rect(0, 0, 6, 6)[1]), crowd=True)
    single = made(1, 5, rect(0, 0, 20, 20)[0])
    alone = class_mask(H, W, [crowd])
    assert (alone == 4).sum() == 36
    # Smaller than the single object, and still hidden by it.
    mask = class_mask(H, W, [single, crowd])
    assert (mask == 4).sum() == 0 and (mask == 5).sum() == 400
    beside = made(1, 5, rect(3, 0, 20, 20)[0])
    assert (class_mask(H, W, [beside, crowd]) == 4).sum() == 18


def test_no_annotation_is_background():
    assert class_mask(H, W, []).sum() == 0


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [1, 2, 3, 4, 5, 6],
        "rle",
        {"size": [H, W]},
        {"counts": [5]},
        {"size": [H, W], "counts": [5, 5]},
        {"size": [W, H], "counts": [0, H * W]},
        {"size": [H, W], "counts": [H * W + 5, -5]},
    ],
)
def test_a_malformed_region_is_named(segmentation):
    with pytest.raises(CstlibError, match="Annotation 17 has no valid") as caught:
        region_of(made(17, 1, segmentation), H, W)
    assert is_one_sentence(caught.value)


CONTENT = {
    "images": [
        {"id": 3, "file_name": "b/two.v2.jpg", "height": 20, "width": 30},
        {"id": 1, "file_name": "one.png", "height": 5, "width": 6},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 90, "segmentation": [[0] * 6]},
        {"id": 2, "image_id": 3, "category_id": 7, "iscrowd": 1, "segmentation": []},
        {"id": 3, "image_id": 1, "category_id": 15, "segmentation": []},
    ],
    "categories": [
        {"id": 90, "name": "z"},
        {"id": 7, "name": "cat"},
        {"id": 15, "name": "a"},
    ],
}


def written(path, **changes):
    path.write_text(json.dumps({**CONTENT, **changes}), encoding="utf-8")
    return path


def test_classes_are_the_sorted_ids_from_one_on(tmp_path):
    file = read_coco(written(tmp_path / "a.json"))
    assert file.class_names == ("cat", "a", "z")
    assert file.names == ["b/two.v2", "one"]
    assert file.images["b/two.v2"] == (20, 30)
    found = [(a["id"], a["class"], a["crowd"]) for a in file.annotations("b/two.v2")]
    assert found == [(1, 3, False), (2, 1, True)]
    assert [a["class"] for a in file.annotations("one")] == [2]


def test_classes_can_be_chosen(tmp_path):
    file = read_coco(written(tmp_path / "a.json"), ["z", "cat"])
    assert file.class_names == ("z", "cat")
    assert [a["class"] for a in file.annotations("b/two.v2")] == [1, 2]
    assert file.annotations("one") == []
    for classes in (["dog"], [], ["cat", "cat"]):
        with pytest.raises(CstlibError) as caught:
            read_coco(tmp_path / "a.json", classes)
        assert is_one_sentence(caught.value)


def image(file_name, number=1):
    return {"id": number, "file_name": file_name, "height": 5, "width": 6}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": [image("../secret.jpg")]}, "outside its folder"),
        ({"images": [image("/etc/passwd")]}, "outside its folder"),
        ({"images": [image("C:\\a.jpg")]}, "outside its folder"),
        ({"images": [image("a\\..\\..\\b.jpg")]}, "outside its folder"),
        ({"images": [image("a.jpg"), image("a.png", 3)]}, "two images named a"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}]}, "not in COCO's format"),
        ({"images": [image("a.jpg")]}, "not in COCO's format"),
        ({"categories": []}, "were chosen"),
        ({"categories": [{"id": 7, "name": "cat"}]}, "category_id 90"),
        ({"annotations": {}, "images": 3}, "not in COCO's format"),
        (
            {
                "categories": [{"id": i, "name": str(i)} for i in range(255)],
                "annotations": [],
            },
            "1 to 254",
        ),
    ],
)
def test_what_is_not_cocos_format_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(CstlibError, match=words) as caught:
        read_coco(written(tmp_path / "a.json", **changes))
    assert is_one_sentence(caught.value)


def test_missing_and_broken_files(tmp_path):
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    for name in ("missing", "broken", "list"):
        with pytest.raises(CstlibError, match=f"{name}.json") as caught:
            read_coco(tmp_path / f"{name}.json")
        assert is_one_sentence(caught.value)
