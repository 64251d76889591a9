"""From masks to lists, and from lists to a verdict."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from made import is_one_sentence
from PIL import Image

from cstlib.data import published
from cstlib.data.class_names import COCO_CLASSES, PASCAL_CLASSES
from cstlib.data.given_lists import read_given_lists
from cstlib.data.list_rule import (
    LEAST_PIXELS,
    Shown,
    count_pixels,
    list_entries,
    scan_masks,
    whole_folder,
    write_lists,
)
from cstlib.data.lists import fold_classes, fold_table, write_list
from cstlib.data.published import PublishedList, compare_coco, compare_pascal
from cstlib.errors import CstlibError

FOLDS = fold_table("pascal", 4, 2)


def test_a_class_is_listed_from_2048_pixels_on():
    assert LEAST_PIXELS == 2048
    shown = {
        "b": Shown(187_500, {2: 2048, 1: 2047}),
        "a": Shown(187_500, {2: 9000, 1: 2049}),
    }
    assert list_entries(shown, "trn") == [("a", 1), ("a", 2), ("b", 2)]
    assert list_entries({**shown, "c": Shown(9, {1: 5000})}, "trn")[:2] == [
        ("a", 1),
        ("c", 1),
    ]
    # Validation lists run by name, then class.
    many = {"b": Shown(9, {3: 4000, 1: 4000}), "a": Shown(9, {4: 4000})}
    assert list_entries(many, "val") == [("a", 4), ("b", 1), ("b", 3)]
    assert list_entries(many, "trn") == [("b", 1), ("b", 3), ("a", 4)]


def test_below_one_the_least_is_a_share_of_the_image():
    shown = {"a": Shown(96 * 96, {1: 92, 2: 91}), "tiny": Shown(9, {1: 1})}
    assert list_entries(shown, "val", 0.01) == [("a", 1), ("tiny", 1)]


def test_background_and_void_are_no_classes():
    mask = np.zeros((10, 10), dtype=np.uint8)
    mask[0], mask[1], mask[2, 0] = 255, 7, 254
    assert count_pixels(mask) == Shown(100, {7: 10, 254: 1})


def test_scanning_refuses_ids_beyond_the_classes(tmp_path):
    for name, c in (("a", 3), ("b", 255)):
        Image.fromarray(np.full((4, 4), c, np.uint8)).save(tmp_path / f"{name}.png")

    def scan(n_classes, names=("a", "b")):
        return scan_masks(
            names, lambda name: tmp_path / f"{name}.png", n_classes, progress=False
        )

    assert scan(3) == {"a": Shown(16, {3: 16}), "b": Shown(16, {})}
    for call in (lambda: scan(2), lambda: scan(3, ["a", "missing"])):
        with pytest.raises(CstlibError) as caught:
            call()
        assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "protocol, classes, folds, expected",
    [
        ("pascal", 7, 3, ((1, 2, 3), (4, 5), (6, 7))),
        ("coco", 7, 3, ((1, 4, 7), (2, 5), (3, 6))),
        ("pascal", 2, 2, ((1,), (2,))),
    ],
)
def test_folds_of_any_number_of_classes(protocol, classes, folds, expected):
    assert fold_table(protocol, classes, folds) == expected
    with pytest.raises(CstlibError, match="cannot be held out in"):
        fold_table(protocol, classes, classes + 1)


def test_fold_tables_are_the_benchmarks_own():
    for protocol, count in (("pascal", 20), ("coco", 80)):
        table = fold_table(protocol, count)
        assert table == tuple(fold_classes(f, protocol) for f in range(4))


def test_a_folder_comes_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    with whole_folder(target) as folder:
        (folder / "a").write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as folder:
        (folder / "a").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert (target / "a").read_text(encoding="utf-8") == "old"
    with whole_folder(target) as folder:
        (folder / "b").write_text("new", encoding="utf-8")
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    inside_a_file = whole_folder(tmp_path / "file" / "folder")
    with pytest.raises(CstlibError, match="Cannot write") as caught, inside_a_file:
        pass
    assert is_one_sentence(caught.value)


# What is published, and lists made up to resemble it.


def test_the_published_numbers_add_up():
    for (split, fold), known in published.PASCAL.items():
        assert len(known.per_class) == 5 and sum(known.per_class) == known.lines
        assert known.images <= known.lines and len(known.sha256) == 64
        assert split in ("trn", "val") and fold in range(4)
    assert len({known.sha256 for known in published.PASCAL.values()}) == 8
    # Each fold's training lists are the other three folds': all are counted thrice.
    total = sum(published.COCO["trn", fold][0] for fold in range(4))
    assert total % 3 == 0
    own = [total // 3 - published.COCO["trn", fold][0] for fold in range(4)]
    assert own == [75015, 36564, 29437, 29475]


def made_lists(folder, entries):
    for split in ("trn", "val"):
        for fold in range(4):
            write_list(folder / split / f"fold{fold}.txt", entries(split, fold))
    return folder


def test_pascals_lists_are_compared_byte_by_byte(tmp_path):
    def entries(split, fold):
        classes = fold_classes(fold)
        return [("a", classes[0]), ("b", classes[0]), ("a", classes[4])]

    lists = made_lists(tmp_path, entries)
    known = {
        (split, fold): PublishedList(
            2,
            (2, 0, 0, 0, 1),
            hashlib.sha256(
                (lists / split / f"fold{fold}.txt").read_bytes()
            ).hexdigest(),
        )
        for split in ("trn", "val")
        for fold in range(4)
    }
    found = compare_pascal(lists, PASCAL_CLASSES, known)
    assert found.identical
    assert found.lines == ("Lists: all 8 identical to the benchmark.",)

    write_list(lists / "val" / "fold1.txt", [("a", 6), ("b", 6), ("c", 10), ("d", 7)])
    write_list(lists / "trn" / "fold0.txt", [("b", 1), ("a", 1), ("a", 5)])
    found = compare_pascal(lists, PASCAL_CLASSES, known)
    assert not found.identical
    assert found.lines[0].startswith("Lists: 6 of 8 identical")
    assert "trn/fold0.txt: 3 lines of 2 images" in found.lines[1]
    assert "as many of each class, but other images or order" in found.lines[1]
    assert found.lines[2].endswith("has 3 of 2; car 1 (+1)")
    # And the real numbers are the default.
    assert not compare_pascal(lists, PASCAL_CLASSES).identical


def test_cocos_lists_are_compared_by_counts(tmp_path):
    lists = made_lists(
        tmp_path, lambda split, fold: [("a", fold + 1), (f"b{fold}", fold + 5)]
    )
    known = {("trn", f): (6, 4) for f in range(4)} | {
        ("val", f): (2, 2) for f in range(4)
    }
    found = compare_coco(lists, known)
    assert found.identical and "all 8 counts as in the benchmark" in found.lines[0]
    write_list(lists / "trn" / "fold2.txt", [("a", 3), ("c", 3), ("d", 3)])
    found = compare_coco(lists, known)
    assert not found.identical and found.lines[0].startswith("Lists: 5 of 8")
    assert found.lines[1].strip() == "training on fold 0: 7 lines (+1) of 5 images (+1)"
    assert not compare_coco(lists).identical


# Given lists.

SHOWN = {name: Shown(100, {1: 9, 2: 9, 3: 9, 4: 9}) for name in "abcd"}


def test_given_text_files_keep_their_order(tmp_path):
    write_list(tmp_path / "trn/fold0.txt", [("b", 2), ("a", 1)])
    write_list(tmp_path / "trn/fold1.txt", [("d", 4), ("c", 3)])
    write_list(tmp_path / "val/fold0.txt", [("c", 1), ("a", 2)])
    write_list(tmp_path / "val/fold1.txt", [("b", 3), ("b", 4)])
    found = read_given_lists(tmp_path, FOLDS, SHOWN)
    assert found == {
        "trn": [("b", 2), ("a", 1), ("d", 4), ("c", 3)],
        "val": [("c", 1), ("a", 2), ("b", 3), ("b", 4)],
    }
    write_lists(tmp_path / "out", found, FOLDS, SHOWN)
    for name in ("trn/fold0.txt", "val/fold1.txt"):
        given = (tmp_path / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == given


def test_given_pickles_count_from_zero_and_list_what_is_trained_on(tmp_path):
    content = {
        "trn/fold0.pkl": {2: ["c.jpg"], 3: ["d.jpg", "a.jpg"]},
        "trn/fold1.pkl": {0: ["b.jpg", "a.jpg"], 1: ["b.jpg"]},
        "val/fold0.pkl": {0: ["d.jpg"], 1: ["a.jpg"]},
        "val/fold1.pkl": {2: ["d.jpg"], 3: ["a.jpg"]},
    }
    for name, lists in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pickle.dumps(lists))
    assert read_given_lists(tmp_path, FOLDS, SHOWN) == {
        "trn": [("b", 1), ("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a", 4)],
        "val": [("d", 1), ("a", 2), ("d", 3), ("a", 4)],
    }


class Evil:
    """Unpickling it anywhere but here would run a command."""

    def __reduce__(self):
        return print, ("unpickled!",)


def test_a_pickle_cannot_run_code(tmp_path, capsys):
    for split in ("trn", "val"):
        (tmp_path / split).mkdir()
        for fold in range(2):
            path = tmp_path / split / f"fold{fold}.pkl"
            path.write_bytes(pickle.dumps({0: Evil()}))
    with pytest.raises(CstlibError, match="not a plain pickle") as caught:
        read_given_lists(tmp_path, FOLDS, SHOWN)
    assert is_one_sentence(caught.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "fold0, fold1, words",
    [
        (["z__01"], ["b__02"], "name the image z, which is not in the data"),
        (["a__01"], ["a__02"], "image a to class 2, which its mask does not show"),
        ([], ["b__02"], "have no image of class 1"),
    ],
)
def test_given_lists_must_fit_the_data(tmp_path, fold0, fold1, words):
    shown = {"a": Shown(9, {1: 9}), "b": Shown(9, {2: 9})}
    for split in ("trn", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "fold0.txt").write_text("\n".join(fold0), encoding="utf-8")
        (tmp_path / split / "fold1.txt").write_text("\n".join(fold1), encoding="utf-8")
    with pytest.raises(CstlibError, match=words) as caught:
        read_given_lists(tmp_path, fold_table("pascal", 2, 2), shown)
    assert is_one_sentence(caught.value)


def test_class_names_are_complete():
    assert len(set(PASCAL_CLASSES)) == 20 and len(set(COCO_CLASSES)) == 80
