"""Deciding the enhancer's open choices: whose masks have a say, and what is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE, made_home

from cstlib import enhancer_command
from cstlib.cli import main
from cstlib.data.voc import VocDataset
from cstlib.enhancer import CUT, EnhancerSettings, new_enhancer
from cstlib.enhancer_choices import (
    CUTS,
    SHARES,
    VARIANTS,
    Variant,
    decide,
    final,
    open_trial,
    taught,
)
from cstlib.enhancer_command import recorded
from cstlib.enhancer_pairs import class_ids, masked_subset, training_pairs
from cstlib.enhancer_report import (
    choices_markdown,
    final_markdown,
    finding,
    plain_line,
    questions,
    stands,
    with_tables,
)
from cstlib.errors import CstlibError
from cstlib.features import open_features
from cstlib.records import read_records

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "mixed_supervision.md"
QUICK = {"steps": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with made_home(tmp_path_factory.mktemp("home"), 80) as world:
        yield world


@pytest.fixture(scope="module")
def features(world):
    return open_features(world, BACKBONE, progress=False)


@pytest.fixture
def reads(monkeypatch):
    """(split, name) of each mask that is read."""
    found = []
    read = VocDataset.mask

    def noted(dataset, name):
        found.append((dataset.split, name))
        return read(dataset, name)

    monkeypatch.setattr("cstlib.data.voc.VocDataset.mask", noted)
    return found


def test_the_held_out_classes_have_no_say(world, features, reads):
    trial = open_trial(world, features, 1, share=0.1)
    held_out = set(trial.dataset.folds[1])
    assert trial.left_out == list(trial.dataset.folds[2])
    assert len(trial.known) == 10 and not held_out & set(trial.known)
    assert not set(trial.left_out) & set(trial.known)
    judged = {name for _, name in reads}
    assert {split for split, _ in reads} == {"trn"}
    taught(trial, features, Variant("", "", QUICK))
    # Nobody is judged on an image that gives, or might give, a mask to learn from.
    assert not judged & set(trial.names)
    assert not judged & set(masked_subset(trial.dataset, max(SHARES)))
    listed = dict.fromkeys(name for name, c in trial.dataset.entries)
    assert judged <= set(listed)
    learnt = {name for _, name in reads} - judged
    assert learnt and learnt <= set(trial.names)


def test_rows_to_judge_by_show_the_class_they_are_about(world, features):
    trial = open_trial(world, features, 0)
    for judges in (trial.new, trial.seen):
        assert len(judges.maps) == len(judges.truth) > 5
        assert judges.truth.flatten(1).any(1).all()


def test_what_must_not_be_known_can_be_tried_but_not_chosen(world, features):
    trial = open_trial(world, features, 0, share=0.2)
    labels, names = trial.dataset.present_classes, []

    def noted(*args, **more):
        pairs = training_pairs(*args, **more)
        names.append(set(pairs.names))
        return pairs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cstlib.enhancer_choices.training_pairs", noted)
        for held_out in ("", "images", "pixels"):
            taught(trial, features, Variant("", "", QUICK, held_out))
    everything, fewer, pixels = names
    assert everything == pixels and fewer < everything
    assert all(labels(name) <= set(trial.known) for name in fewer)
    assert any(not labels(name) <= set(trial.known) for name in everything)
    assert any(v.held_out for v in VARIANTS)


def test_every_variant_is_measured_and_the_default_once(world, features):
    quick = [
        Variant("a", "one"),
        Variant("a", "two", QUICK),
        Variant("b", "three"),
        Variant("b", "four", QUICK, "pixels"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(
            "cstlib.enhancer_choices.taught",
            lambda trial, features, variant, seed: (
                calls.append(variant.name),
                taught(trial, features, replace(variant, settings=QUICK), seed),
            )[1],
        )
        plain, *rows = decide(world, features, [2], variants=quick)
    assert calls == ["one", "two", "four"]
    assert plain["name"] == "plain" and 0 <= plain["new"] <= 1
    assert [row["name"] for row in rows] == ["one", "two", "three", "four"]
    assert [row["chosen"] for row in rows] == [True, False, True, False]
    assert [row["allowed"] for row in rows] == [True, True, True, False]
    assert rows[0]["new"] == rows[2]["new"]
    for row in rows:
        assert len(row["new"]) == len(row["seen"]) == len(CUTS)


def test_each_question_has_one_chosen_answer():
    for question in {v.question for v in VARIANTS}:
        options = [v for v in VARIANTS if v.question == question]
        assert len(options) >= 2
        assert sum(not v.settings and not v.held_out for v in options) == 1
        assert len({v.name for v in options}) == len(options)


def test_the_final_figures_are_of_held_out_classes(world, features, reads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cstlib.enhancer_choices.trained_enhancer", _untrained)
        rows = list(final(world, features, [3]))
    assert [row["share"] for row in rows] == list(SHARES)
    assert {split for split, _ in reads} == {"val"}
    held_out = world.dataset(3, "val")
    truth = torch.stack([class_ids(held_out, n) == c for n, c in held_out.entries])
    whole = truth.sum().item() / truth.numel()
    assert rows[0]["whole"] == pytest.approx(whole)
    assert {row["before"] for row in rows} == {rows[0]["before"]}


def _untrained(dataset, features, names, seed):
    return new_enhancer(features.heads, seed)


def test_too_few_folds_are_said(world, features):
    with pytest.raises(CstlibError, match="three or more") as error:
        open_trial(replace(world, n_folds=2), features, 0)
    assert is_one_sentence(error.value)


# ---- The report, on made figures -----------------------------------------------------


def made_rows(fold: int, better: float = 0.0):
    """Figures in which the second pair kind is ``better`` than the chosen one."""
    yield {"fold": fold, "question": "", "name": "plain", "new": 0.3, "seen": 0.4}
    for variant in VARIANTS:
        chosen = not variant.settings and not variant.held_out
        more = better if variant.name == "self" else 0.0
        more += 0.2 if variant.held_out else 0.0
        values = [0.30, 0.40, 0.50, 0.40 - 0.1 * fold, 0.20]
        yield {
            "fold": fold,
            "question": variant.question,
            "name": variant.name,
            "chosen": chosen,
            "allowed": not variant.held_out,
            "new": [v + more for v in values],
            "seen": [v + 0.1 + more for v in values],
        }


def made_final(fold: int):
    for share in SHARES:
        after = 0.4 + share - 0.2 * (fold == 1)
        ious = {"whole": 0.1, "before": 0.35, "after": after}
        yield {"fold": fold, "share": share, "images": 5, **ious}


def made_record(better: float = 0.0) -> dict:
    return {
        "folds": [0, 1],
        "settings": {"cut": 0.4},
        "choices": [row for fold in (0, 1) for row in made_rows(fold, better)],
        "final": [r for fold in (0, 1) for r in made_final(fold)],
    }


def test_a_choice_stands_unless_it_is_clearly_beaten():
    for better, expected in ((0.0, True), (0.009, True), (0.02, False)):
        pairs, *others = questions(made_record(better)).values()
        assert stands(pairs) == expected
        # Knowing the held-out classes is worth much there, and does not count.
        assert all(map(stands, others))


def test_figures_are_means_over_folds_at_the_best_cut():
    record = made_record()
    lines = questions(record)
    first = next(iter(lines.values()))[0]
    assert first["chosen"] and first["cut"] == CUTS[2]
    assert (first["new"], first["seen"]) == pytest.approx((0.5, 0.6))
    cuts = lines["cut of its output"]
    assert [line["name"] for line in cuts if line["chosen"]] == ["0.4"]
    assert cuts[3]["new"] == pytest.approx(0.35)
    assert plain_line(record) == pytest.approx({"new": 0.3, "seen": 0.4})


def test_the_tables_say_it_in_per_cent():
    record = made_record(0.02)
    text = choices_markdown(record)
    assert (
        "| pairs that it is taught | **self and cross** | 50.0 | 60.0 | 55.0 " in text
    )
    assert text.count("knows too much") == sum(bool(v.held_out) for v in VARIANTS)
    assert text.count("| no |") == 1
    assert "| enhanced, 5.0% | 45.0 | 25.0 | 35.0 |" in final_markdown(record)
    assert "+0.0 points with 5.0% of the masks (up on 1 of 2 folds)" in finding(record)


def test_a_page_gets_its_tables_and_keeps_the_rest():
    page = PAGE.read_text(encoding="utf-8")
    record = made_record()
    filled = with_tables(page, record)
    assert with_tables(filled, record) == filled
    assert filled.startswith(page[: page.index("<!-- choices -->")])
    assert filled.endswith(page[page.index("<!-- end of finding -->") :])
    assert final_markdown(record) in filled
    with pytest.raises(ValueError, match="no <!-- choices"):
        with_tables("a page", record)


# ---- The command ---------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """The command with made figures; the list that it returns fills with folds."""
    asked = []

    def note(part, rows):
        def measure(world, features, folds, seed):
            asked.append((part, *folds))
            yield from rows(folds[0])

        return measure

    monkeypatch.setattr(enhancer_command, "decide", note("choices", made_rows))
    monkeypatch.setattr(enhancer_command, "final", note("final", made_final))
    monkeypatch.setattr(
        enhancer_command,
        "open_features",
        lambda world, name, device: open_features(world, BACKBONE, progress=False),
    )
    return asked


def test_the_command_records_and_shows(world, quick, tmp_path, capsys):
    name = f"{world.name}-enhancer-choices"
    with pytest.raises(CstlibError, match="enhancer-choices") as error:
        recorded(name)
    assert is_one_sentence(error.value)
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["enhancer-choices", "--folds", "0", "1", "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert quick == [("choices", 0), ("choices", 1), ("final", 0), ("final", 1)]
    record = recorded(name)
    assert record["folds"] == [0, 1] and record["settings"]["cut"] == 0.4
    assert choices_markdown(record) in said and finding(record) in said
    assert final_markdown(record) in page.read_text(encoding="utf-8")
    assert not read_records(kind="train")  # no run, and not taken for one

    assert main(["enhancer-choices", "--show"]) == 0
    assert capsys.readouterr().out == said
    # Stopped or asked again, it goes on with what is left.
    del quick[:]
    assert main(["enhancer-choices", "--folds", "1", "2"]) == 0
    assert quick == [("choices", 2), ("final", 2)]
    assert main(["enhancer-choices", "--folds", "0", "1", "--decide-folds", "3"]) == 0
    assert quick[2:] == [("choices", 3)]
    assert recorded(name)["decided"]["folds"] == [3]
    assert "Decided on fold 3." in capsys.readouterr().out
    del quick[:]
    assert main(["enhancer-choices", "--folds", "1", "--seed", "1"]) == 0
    assert quick == [("choices", 1), ("final", 1)]


def test_a_wrong_fold_or_page_is_said_before_anything_is_measured(
    world, quick, tmp_path, capsys
):
    assert main(["enhancer-choices", "--folds", "7"]) == 2
    assert main(["enhancer-choices", "--decide-folds", "7"]) == 2
    other = tmp_path / "other.md"
    other.write_text("nothing", encoding="utf-8")
    assert main(["enhancer-choices", "--page", str(other)]) == 2
    assert "docs/mixed_supervision.md" in capsys.readouterr().err
    assert quick == [] and other.read_text(encoding="utf-8") == "nothing"


# ---- What the documents say ----------------------------------------------------------


@pytest.fixture
def kept():
    """The record in version control, wherever other tests keep their data."""
    (record,) = read_records(TOP / "data" / "results", name="mini-enhancer-choices")
    return record


def test_the_docs_show_the_record(kept):
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, kept) == page


def test_the_defaults_are_what_was_decided_and_what_the_page_says(kept):
    settings = {**vars(EnhancerSettings()), "cut": CUT}
    assert kept["settings"] == settings
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"Cut: {CUT}" in page
    for words in ("{steps} steps of {batch_size} pairs", "Adam with {learning_rate}"):
        assert words.format(**settings) in page


def test_what_is_left_out_of_the_loss_survives_a_higher_cut(kept):
    def lost(name):
        rows = [row["new"] for row in kept["choices"] if row["name"] == name]
        first, last = CUTS.index(0.2), CUTS.index(0.5)
        return sum(row[first] - row[last] for row in rows) / len(rows)

    assert lost("background") > lost("left out of the loss") + 0.05
