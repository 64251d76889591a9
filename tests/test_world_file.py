"""world.json: the folds that it asks for, and what is wrong in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made import is_one_sentence
from made_own import NAMES, own_voc

from cstlib.data.world_file import FIELDS, own_folds, read_world_file
from cstlib.errors import CstlibError
from cstlib.worlds import load_world


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


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


def test_the_documented_example_is_valid(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    example = text.split("```json")[1].split("```")[0]
    (tmp_path / "world.json").write_text(example, encoding="utf-8")
    settings = read_world_file(tmp_path / "world.json")
    assert set(settings) == set(FIELDS) - {"renderer_version"}
    assert own_folds(settings["folds"], settings["classes"], "pascal") == ((1,), (2, 3))
