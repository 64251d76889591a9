"""The README shows the recorded runs, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import is_one_sentence

from cstlib import summary
from cstlib.claims import CLAIMS
from cstlib.errors import CstlibError
from cstlib.experiment_rows import PIXEL
from cstlib.experiments import configuration, find_table
from cstlib.reproduce import recorded
from cstlib.result_tables import recorded_cells, recorded_runs, recorded_seeds
from cstlib.summary import BLOCKS, MINI, filled, main_results, runs_table
from cstlib.training import run_name

TOP = Path(__file__).resolve().parent.parent


def test_readme_shows_the_records():
    """Between markers, by `python -m cstlib.summary --write`; or the plain table."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    assert "<!-- main-results -->" in text or runs_table() in text
    assert filled(text) == text, "run python -m cstlib.summary --write"


def test_recorded_pixel_runs_beat_every_blind_control():
    """All foreground stays below 10% mIoU here; a learner must do far better."""
    records = recorded_runs(PIXEL, MINI, recorded())
    if not records:
        pytest.skip("no such run is recorded")
    for record in records:
        assert record["test_episodes"] == 1000
        assert record["metrics"]["background"]["miou"] > 0.3


def made_records(mious, episodes=6000):
    """Image-level CST, (fold, seed) -> mIoU, by name."""
    found = {}
    for (fold, seed), miou in mious.items():
        row = find_table("main").rows[4]
        settings = {"backbone": "dino-mini", "episodes": episodes}
        config = configuration(row, "mini", fold, seed, **settings)
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
    assert "2 of 3 (image level), 0 of 0 (5%" in summary.still_rising(have)


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


def test_blocks_are_written_between_their_markers(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- claims -->\nold\n<!-- /claims -->\nbetween\n"
        "<!-- main-results --><!-- /main-results -->\nafter\n"
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
