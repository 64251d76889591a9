"""The README shows the recorded runs, and nothing else."""

from __future__ import annotations

import pytest
from made import is_one_sentence

from cstlib import summary
from cstlib.claims import CLAIMS
from cstlib.errors import CstlibError
from cstlib.experiment_rows import IMAGE, PIXEL, Row
from cstlib.experiments import TABLES, configuration, find_table
from cstlib.reproduce import recorded
from cstlib.result_tables import recorded_cells, recorded_runs, recorded_seeds
from cstlib.results_page import runs_text, tables_text
from cstlib.summary import BLOCKS, MINI, MINIS, PAGES, filled, main_results
from cstlib.training import run_name
from cstlib.verdicts import HOLDS, OPEN

FOLDS = ("a.12", "a.13", "a.14")  # of Tables 2, 5 and 8, which are shown already


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_records(page):
    """Between markers, by `python -m cstlib.summary --write`."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- main-results -->" in text or "<!-- tables -->" in text
    assert filled(text) == text, "run python -m cstlib.summary --write"


# What the README says in short -> the claims that it speaks of, by their first words.
SAID_TO_HOLD = {
    "pseudo-masks are worth far more than no masks": ["pseudo-masks beat no masks"],
    "and more from a self-supervised network": ["self-supervised pseudo-masks beat"],
    "a few masks beat none": ["5% of the masks beat none"],
    "all masks beat a few": ["all masks beat 5%"],
    "true masks of the test's supports help": ["true support masks in testing help"],
    "five shots beat one": ["five shots beat one"],
    "five ways cost less than ten points of mIoU": ["five ways cost less than 10"],
    "many heads beat one where there are masks": ["many heads beat one (pixel"],
    "CST beats ASNet*, HSNet* and PANet": [
        f"CST beats {name} (pixel" for name in ("ASNet*", "HSNet*", "PANet")
    ],
    "with fewer parameters than the first two": [
        f"CST has fewer parameters than {name}" for name in ("ASNet*", "HSNet*")
    ],
    "Decoupled heads raise ER at image level": [
        "decoupled heads beat coupled ones in ER (image"
    ],
}
SAID_TO_BE_OPEN = {
    "Not settled is what the enhancer adds": ["the enhancer helps"],
    "Nor is it settled whether": ["self-supervised tokens beat class-supervised"],
    "Whether pseudo-masks raise ER is open": ["pseudo-masks also raise ER"],
    "and change little where there are masks": [
        f"decoupled heads beat coupled ones in {figure} (pixel"
        for figure in ("ER", "mIoU")
    ],
}


@pytest.mark.parametrize("said, says", [(SAID_TO_HOLD, HOLDS), (SAID_TO_BE_OPEN, OPEN)])
def test_readme_says_in_short_what_the_verdicts_say(said, says):
    text = " ".join(summary.README.read_text(encoding="utf-8").split())
    found = summary.judged()
    for words, claims in said.items():
        assert words in text
        for claim in claims:
            mine = [v for v in found if v.claim.text.startswith(claim)]
            assert mine and all(v.says == says for v in mine), claim


def test_recorded_pixel_runs_beat_every_blind_control():
    """All foreground stays below 10% mIoU here; a learner must do far better."""
    records = recorded_runs(PIXEL, MINI, recorded())
    if not records:
        pytest.skip("no such run is recorded")
    for record in records:
        assert record["test_episodes"] == 1000
        assert record["metrics"]["background"]["miou"] > 0.3


def made_records(mious, episodes=6000, level=IMAGE, data="mini"):
    """CST with these labels, (fold, seed) -> mIoU, by name."""
    found = {}
    for (fold, seed), miou in mious.items():
        row = Row("", level)
        settings = {"backbone": "dino-mini", "episodes": episodes}
        config = configuration(row, data, fold, seed, **settings)
        figures = {"exact_ratio": 0.5, "miou": miou, "fb_iou": 0.6}
        found[run_name(config)] = {
            "kind": "train",
            "config": {"episodes": episodes},
            "seed": seed,
            "duration_s": 1800,
            "metrics": {"background": figures},
        }
    return found


def test_a_run_whose_last_validation_was_its_best_has_not_levelled_off():
    have = made_records({(0, 0): 0.2, (1, 0): 0.3, (2, 0): 0.4, (3, 0): 0.4})
    curves = [[0.1, 0.2], [0.3, 0.1], [0.0, 0.4]]  # the fourth has none
    for record, curve in zip(have.values(), curves):
        record["validation"] = [{"miou": value} for value in curve]
    assert "2 of 3 (image level), 0 of 0 (5%" in summary.levelled_off(have)


def test_the_main_table_has_means_and_spreads_over_folds_and_seeds():
    have = made_records({(0, 0): 0.2, (3, 0): 0.3, (1, 7): 0.4})
    assert recorded_seeds(have) == [0, 7] and recorded_seeds({}) == [0]
    cells = recorded_cells(find_table("main"), MINI, have)
    cell = cells["image level, pseudo-masks", (1, 1), "miou"]
    assert cell.values == pytest.approx((20, 30, 40))
    assert (cell.spread, cell.paper) == (pytest.approx(10), 33.2)
    text = main_results(have)
    row = "| image level, pseudo-masks | 50.0 ± 0.0 | 79.9 | 30.0 ± 10.0 | 33.2 |"
    assert row + " 60.0 ± 0.0 | 3 |" in text
    assert "3 training runs and 0 further tests" in text and "1.5 hours" in text
    # Whatever is missing is a dash, and no row is left out.
    assert text.count("| - |") and len(text.splitlines()) == 2 + 9 + 4
    assert "| image level, pseudo-masks | - |" in main_results({})


def test_longer_trainings_have_a_table_of_their_own():
    have = made_records({(0, 0): 0.2}) | made_records({(0, 0): 0.5}, episodes=9000)
    usual, longer = main_results(have).split("The same after 9,000 training episodes:")
    assert "| 79.9 | 20.0 | 33.2 |" in usual and "| 79.9 | 50.0 |" not in usual
    rows = longer.strip().splitlines()[2:]
    assert len(rows) == 1 and "| 50.0 | 33.2 |" in rows[0]


def test_a_page_has_each_table_once_and_longer_trainings_below_it():
    have = made_records({(0, 0): 0.2}) | made_records({(0, 0): 0.5}, episodes=9000)
    have |= made_records({(0, 0): 0.6}, 9000, PIXEL)
    text = tables_text(MINIS, have)
    shown = [number for number in TABLES if f"\nTable {number}: " in text]
    assert shown == [n for n in TABLES if n not in ("a.2", "a.4", "a.6", *FOLDS)]
    # Of Table 1, a single line has a longer training, and nothing beside it.
    assert text.count("Table 1: ") == 1 and text.count("Table 3: ") == 2
    longer = text.split("after 9,000 training episodes")[1].split("```")[0]
    lines = [line.split() for line in longer.splitlines()[3:]]
    image, pixel = "image level, pseudo-masks", "pixel level"
    assert lines == [
        [*image.split(), "50.0", "79.9", "50.0", "33.2", "1"],
        [*pixel.split(), "50.0", "85.7", "60.0", "55.5", "1"],
    ]


def test_a_table_of_coco_is_shown_by_its_own_protocol_where_it_is_recorded():
    have = made_records({(0, 0): 0.2})
    assert "image-level supervision on COCO-20i, here --data mini (%)" in tables_text(
        MINIS, have
    )
    have |= made_records({(0, 0): 0.6}, data="mini-coco")
    parts = tables_text(MINIS, have).split("```text\nTable ")
    by_number = {part.split(":")[0]: part for part in parts}
    assert "on COCO-20i, here --data mini-coco (%)" in by_number["2"]
    row = ["CST", "50.0", "78.2", "60.0", "19.6", "1"]
    assert row in [line.split() for line in by_number["2"].splitlines()]
    # Of Table 8 nothing is recorded there; Table 1 is Pascal's.
    assert "here --data mini (%)" in by_number["8"] and "here" not in by_number["1"]


def test_a_page_has_a_line_for_each_training():
    have = made_records({(1, 0): 0.3, (0, 0): 0.2}, episodes=9000)
    for name, record in have.items():
        record["name"] = name
        record["config"] |= {"data": "mini", "fold": int(name[9])}
    lines = runs_text(MINIS, have).splitlines()[2:]
    names = [f"`mini-fold{f}-image-dino-dino-mini-9000ep-seed0`" for f in (0, 1)]
    assert [line.split(" | ")[0] for line in lines] == [f"| {n}" for n in names]
    assert lines[0].endswith("| 50.0 | 20.0 | 60.0 | - | 30.0 |")


def test_a_curve_counts_the_runs_with_the_most_tests():
    have = made_records({(0, 0): 0.2, (0, 1): 0.8})
    (name,) = (name for name in have if "seed0" in name)
    have[f"{name}-2way1shot"] = {**have[name], "seed": 0}
    for evenly, first in ((False, (20, 80)), (True, (20,))):
        cells = recorded_cells(find_table("1"), MINI, have, evenly=evenly)
        assert cells["CST", (1, 1), "miou"].values == pytest.approx(first)
        assert cells["CST", (2, 1), "miou"].values == pytest.approx((20,))
        assert cells["HSNet, no pseudo-masks", (1, 1), "miou"].runs == 0


def test_all_claims_are_in_their_table():
    text = summary.claims_table({})
    assert all(f"| {claim.text}" in text for claim in CLAIMS)
    assert text.count("too few runs (0)") == len(CLAIMS)


def test_blocks_are_written_between_their_markers(tmp_path, monkeypatch, capsys):
    have = recorded()  # as of now: a run may be recorded meanwhile
    monkeypatch.setattr(summary, "recorded", lambda: have)
    page = tmp_path / "page.md"
    rest = "".join(f"<!-- {b} --><!-- /{b} -->\n" for b in BLOCKS if b != "claims")
    page.write_text(
        f"before\n<!-- claims -->\nold\n<!-- /claims -->\nbetween\n{rest}after\n"
    )
    assert summary.main(["--write", "--file", str(page)]) == 0
    text = page.read_text()
    assert "-->\nold" not in text and capsys.readouterr().out == ""
    for name, make in BLOCKS.items():
        assert f"<!-- {name} -->\n{make()}\n<!-- /{name} -->" in text
    assert text.startswith("before\n<!-- claims") and text.endswith("-->\nafter\n")
    assert filled(text) == text  # writing again changes nothing
    assert summary.main([]) == 0
    printed = capsys.readouterr().out
    assert all(make() in printed for make in BLOCKS.values())


@pytest.mark.parametrize(
    "text", ["<!-- claims -->", "<!-- /claims --><!-- claims -->", "none at all"]
)
def test_markers_that_do_not_fit_are_refused_and_nothing_is_written(
    text, tmp_path, capsys
):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert summary.main(["--write", "--file", str(page)]) == 2
    assert is_one_sentence(capsys.readouterr().err.strip().removeprefix("cstlib: "))
    assert page.read_text() == text
    if "claims" in text:
        with pytest.raises(CstlibError, match="marker"):
            filled(text)
