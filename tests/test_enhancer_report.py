"""What was decided of the enhancer: reported, recorded by the command, and documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import is_one_sentence
from made_world import BACKBONE

from cstlib import enhancer_command
from cstlib.cli import main
from cstlib.enhancer import CUT, EnhancerSettings
from cstlib.enhancer_choices import CUTS, VARIANTS
from cstlib.enhancer_command import recorded
from cstlib.enhancer_report import (
    choices_markdown,
    final_markdown,
    finding,
    plain_line,
    questions,
    stands,
    with_tables,
)
from cstlib.enhancer_trial import SHARES
from cstlib.errors import CstlibError
from cstlib.features import open_features
from cstlib.records import read_records

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "mixed_supervision.md"
IMAGES = 80  # of the made world


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
