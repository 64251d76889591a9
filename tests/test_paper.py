"""The paper's figures: complete, consistent but for what is noted, easy to join."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from made import is_one_sentence

from cstlib import paper
from cstlib.backbones import BACKBONES
from cstlib.baselines import LEARNERS
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.paper import (
    metrics,
    paper_notes,
    paper_rows,
    paper_tables,
    rows,
    rows_like,
)

FILE = Path(__file__).resolve().parent.parent / "data" / "paper_results.json"
CONTENT = json.loads(FILE.read_text(encoding="utf-8"))
TESTED = ("er", "miou", "fb_iou")
# What identifies a row, but neither where it stands nor what comes out.
NO_SETTING = {"table", "row", "masks", "pseudo_masks", "value", "note"}


def exact(number: float) -> Fraction:
    """The number as printed, so that halves are halves."""
    return Fraction(str(number))


def test_every_figure_of_the_paper_is_there():
    """Counted in the paper: four folds and their mean are five figures."""
    printed = {
        # both ways of ER and mIoU, fold by fold; learned parameters with each way
        "1": 4 * 2 * 11 + 2 * 6,
        "2": 2 * 4 + 2,
        "3": 4 + 3 + 4,
        "4": 5 * 2 * 11,
        "6": 4,
        "7": 4 * 4,
        "8": 11 * 2 + 6 * 2 + 7 * 2,
        "a.1": 3 * 2 + 1,
        "a.2": 3 * 5,
        "a.3": 4 * 2,
        "a.4": 5 * 3,
        "a.5": 3 * 4,
        "a.7": 4 * 2,
        "a.8": 3 * 2,
        "a.9": 5 * 10,
        "a.10": 4 * 2 * 11 + 2 * 6,
        "a.11": 2 * 2 * 11 + 2 * 6,
        "a.12": 2 * 2 * 11 + 2 * 6,
        "a.13": 5 * 2 * 10,
        "a.14": 11 * 2 * 5 + 6 * 2 + 7 * 2,
    }
    assert Counter(row["table"] for row in rows()) == printed
    missing = {table["table"] for table in paper_tables() if "missing" in table}
    assert missing == {"5", "a.6"}
    order = [table["table"] for table in paper_tables()]
    assert order == [*map(str, range(1, 9)), *(f"a.{n}" for n in range(1, 15))]
    assert printed.keys() | missing == set(order)


def test_figures_are_as_they_were_proofread():
    """All were read twice from the paper. Whoever changes one reads it a third time."""
    figures = " ".join(f"{row['table']}:{row['value']:g}" for row in rows())
    assert hashlib.sha256(figures.encode()).hexdigest()[:16] == "7df430fdaf787b46"


def test_printed_averages_are_those_of_the_folds_but_for_four():
    """The mean of the printed folds must round to the printed mean; halves may."""
    off = {}
    for line in paper_rows():
        for metric in ("er", "miou"):
            folds = line.get(metric + "_folds")
            if not folds:
                continue
            assert len(folds) == 4
            mean = sum(map(exact, folds)) / 4
            if abs(mean - exact(line[metric])) > Fraction("0.05"):
                key = (line["table"], line["method"], line["way"], line["shot"], metric)
                off[key] = f"{float(mean):.1f}", f"{line[metric]:.1f}"
                note = CONTENT["notes"][line["noted"][metric]]["text"]
                assert all(figure in note for figure in off[key]), note
    assert off == {
        ("1", "HSNet", 2, 1, "miou"): ("16.7", "17.7"),
        ("1", "CST", 2, 1, "miou"): ("16.0", "15.7"),
        ("a.13", "CST", 2, 1, "er"): ("63.9", "64.0"),
        ("a.14", "RePRI", 1, 1, "miou"): ("33.9", "34.0"),
    }


def test_tables_agree_on_the_same_setting_but_for_what_is_noted():
    found = defaultdict(dict)
    for row in rows(fold="mean"):
        setting = {k: v for k, v in row.items() if k not in NO_SETTING}
        found[tuple(sorted(setting.items()))][row["table"]] = row
    clashes = set()
    for same in found.values():
        values = {row["value"] for row in same.values()}
        if len(values) > 1:
            assert all("note" in row for row in same.values()), same
            clashes.add((frozenset(same), frozenset(values)))
    assert {(" ".join(sorted(t)), *sorted(v)) for t, v in clashes} == {
        ("4 7 a.9", 53.7, 55.7),
        ("4 7 a.9", 70.4, 70.5),
        ("1 7", 64.5, 64.6),
        ("4 a.9", 82.7, 83.7),
        ("2 a.12", 9.5, 9.8),
    }


def test_learned_parameters_agree_but_for_asnets():
    sizes = defaultdict(Counter)
    for row in rows(metric="learned_params"):
        if "part" not in row:
            sizes[row["method"]][row["value"]] += 1
    assert {m for m, found in sizes.items() if len(found) > 1} == {"ASNet"}
    (odd,) = rows(metric="learned_params", method="ASNet", value=1.4)
    assert odd["table"] == "a.4" and "1.4" in odd["note"]
    parts = {
        row["part"]: row["value"] for row in rows(metric="learned_params", table="a.1")
    }
    assert parts.pop("total") == 0.366
    assert sum(map(exact, parts.values())) == exact(0.3661)  # rounded parts: noted


def test_more_ways_are_harder_but_for_two_folds_that_are_noted():
    found = defaultdict(dict)
    for row in rows(metric="er"):
        key = (row["table"], row["method"], row.get("mask_source"), row["supervision"])
        key += (row.get("heads"), row["shot"], row["fold"])
        found[key][row["way"]] = row
    easier = set()
    for by_way in found.values():
        ways = sorted(by_way)
        for fewer, more in pairwise(ways):
            if by_way[more]["value"] >= by_way[fewer]["value"]:
                row = by_way[more]
                easier.add((row["table"], row["mask_source"], row["fold"]))
                assert str(row["value"]) in row["note"]
    assert easier == {("a.10", "none", 0), ("a.12", "none", 2)}


def test_figures_are_possible_and_described():
    for row in rows():
        extra = {"table", "metric", "value", "note"}
        assert row.keys() - extra <= CONTENT["fields"].keys()
        assert row["metric"] in metrics()
        if row["metric"] in TESTED:
            assert 0 < row["value"] < 100 and row["data"] in ("pascal", "coco")
            assert row["fold"] in (0, 1, 2, 3, "mean")
        else:
            assert row["fold"] is None
    identity = [json.dumps({**row, "value": 0}) for row in rows()]
    assert len(identity) == len(set(identity))
    # Only what exists is noted, and no note lies unused.
    used = {note for line in paper_rows() for note in line.get("noted", {}).values()}
    assert used <= CONTENT["notes"].keys()
    assert CONTENT["notes"].keys() - used == {"permuted"}
    for line in paper_rows():
        for metric, name in line.get("noted", {}).items():
            assert metric in line
            assert line["table"] in CONTENT["notes"][name]["tables"]


def test_rows_are_filtered_by_any_field():
    row = {"table": "4", "method": "CST", "way": 1, "metric": "miou"}
    assert [r["value"] for r in rows(**row, fold=[0, 1, 2, 3])] == [
        *(55.6, 61.6, 47.7, 56.9)
    ]
    (mean,) = rows(**row, fold="mean")
    assert mean["value"] == 55.5 and mean["supervision"] == "pixel"
    assert rows(table="5") == [] and rows(colour="red") == []
    # Rows of a caller's own: changing them changes nothing here.
    mean["value"] = 0
    assert rows(**row, fold="mean")[0]["value"] == 55.5


def test_rows_speak_the_configurations_language():
    shared = set(TrainConfig.field_names()) & CONTENT["fields"].keys()
    taken = ("data", "fold", "supervision", "mask_source", "backbone", "learner", "lam")
    taken += ("task",)
    # These three say other things in a configuration: `rows_like` translates.
    assert shared == {*taken, "mask_fraction", "test_masks", "heads"}
    (row,) = rows(table="1", way=1, pseudo_masks=True, metric="er", fold=2)
    assert row.keys() >= set(taken)
    # A configuration takes these values as they are.
    config = TrainConfig.from_dict({key: row[key] for key in taken})
    assert (config.supervision, config.mask_source) == ("image", "dino")
    assert config.backbone in BACKBONES and config.learner in LEARNERS
    for line in rows(table=["1", "4"], method="CST"):
        TrainConfig.from_dict({key: line[key] for key in taken})


@pytest.mark.parametrize(
    "settings, values, tables",
    [
        ({}, {33.2}, {"1", "3", "6", "7", "a.3", "a.5", "a.7", "a.8"}),
        ({"mask_source": "none"}, {16.0}, {"1"}),
        (
            {"supervision": "pixel"},
            {55.5},
            {"3", "4", "7", "a.3", "a.4", "a.5", "a.7", "a.9"},
        ),
        ({"lam": 0.5}, {32.9}, {"a.8"}),
        ({"mask_source": "random"}, set(), set()),
    ],
)
def test_a_run_finds_its_counterparts(settings, values, tables):
    # A fraction says nothing outside of mixed supervision.
    config = {**asdict(TrainConfig(**settings)), "mask_fraction": 0.05}
    place = {"data": "pascal", "way": 1, "shot": 1, "metric": "miou", "fold": "mean"}
    config |= {"heads": 0}
    found = [r for r in rows_like(config, **place) if r["backbone"].startswith("dino")]
    assert {row["value"] for row in found} == values
    assert {row["table"] for row in found} == tables


def test_ablations_have_counterparts_of_their_own():
    place = {"data": "pascal", "way": 1, "metric": "miou", "fold": "mean"}
    config = {"supervision": "image", "heads": "coupled"}
    assert [r["value"] for r in rows_like(config, **place)] == [32.9]
    mixed = {"supervision": "mixed", "mask_fraction": 0.05, "mask_source": "enhanced"}
    assert [r["value"] for r in rows_like(mixed, **place)] == [44.1]
    ours = TrainConfig(supervision="pixel", heads=1)
    assert [r["value"] for r in rows_like(asdict(ours), **place)] == [54.3]
    ours = TrainConfig(supervision="mixed", mask_fraction=0.025, mask_source="dino")
    assert [r["value"] for r in rows_like(asdict(ours), **place)] == [41.4]
    assert [r["value"] for r in rows_like({**mixed, "enhancer": False}, **place)] == [
        43.5
    ]


def test_the_notebooks_find_what_they_show():
    """Calls of notebooks 05 to 08, which print these lines in this order."""
    first = [(r["method"], r["pseudo_masks"]) for r in paper_rows(table="1", way=1)]
    assert first == [
        *(("HSNet", False), ("ASNet", False), ("CST", False)),
        *(("DINO", None), ("CST", True)),
    ]
    assert [r["row"] for r in paper_rows(table="3")] == list("aaaabbbcccc")
    by_way = {r["way"]: (r["er"], r["miou"]) for r in paper_rows(table="a.9")}
    assert by_way[5] == (36.9, 50.3) and list(by_way) == [1, 2, 3, 4, 5]
    for table, what in (("6", "mask_source"), ("7", "heads"), ("a.8", "lam")):
        shown = [str(r[what]) for r in paper_rows(table=table, way=1)]
        assert len(set(shown)) == {"6": 4, "7": 2, "a.8": 3}[table]
    assert paper_rows(table="6")[-1]["mask_source"] == "self-supervised ViT"
    assert len(paper_notes()) == 4 and "55.7" in paper_notes()[0]


def test_a_broken_or_missing_file_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "PACKAGE", tmp_path / "cstlib")
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "nowhere"))
    paper._content.cache_clear()
    try:
        with pytest.raises(CstlibError, match="There is no data") as missing:
            rows()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / paper.NAME).write_text('{"rows": [', encoding="utf-8")
        with pytest.raises(CstlibError, match="not readable") as broken:
            rows()
        assert is_one_sentence(missing.value) and is_one_sentence(broken.value)
    finally:
        paper._content.cache_clear()
