"""`python -m cstlib paper`: every figure is shown, aligned, with the table's notes."""

from __future__ import annotations

from made import is_one_sentence

from cstlib.cli import main
from cstlib.paper import paper_notes, paper_tables, rows


def test_the_command_prints_every_figure_of_a_table(capsys):
    for table in paper_tables():
        assert main(["paper", table["table"].upper()]) == 0
        text = capsys.readouterr().out
        words = text.replace("*", " ").split()
        for row in rows(table=table["table"]):
            percent = row["metric"] in ("er", "miou", "fb_iou")
            value = f"{row['value']:.1f}" if percent else f"{row['value']:g}"
            assert value in words, (table["table"], value)
        flat = " ".join(text.split())
        assert all(note in flat for note in paper_notes(table["table"]))
        assert ("lacks" in text) == ("missing" in table)


def test_the_command_keeps_columns_and_marks(capsys):
    main(["paper", "1"])
    lines = capsys.readouterr().out.splitlines()
    (line,) = [x for x in lines if x.startswith("HSNet") and "17.7" in x]
    assert " ".join(line.split()) == (
        "HSNet image 2 no 70.8 67.0 36.5 70.1 61.1 11.0 23.4 15.4 17.0 17.7* 2.6"
    )
    (head,) = [x for x in lines if x.startswith("method")]
    assert head.split()[4:] == [*"0123", "mean", *"0123", "mean", "learned", "M"]
    # Right-aligned below their heads, whether marked or not.
    for mean in ("78.9", "61.1", "62.6"):
        (row,) = [x for x in lines if f"{mean} " in x]
        assert row.index(mean) == head.index("mean")
    assert line.index("17.7") == head.rindex("mean")


def test_the_command_lists_all_tables(capsys):
    assert main(["paper", "--list"]) == 0
    listed = capsys.readouterr().out
    assert main(["paper"]) == 0
    assert capsys.readouterr().out == listed
    names = [x.split()[0] for x in listed.splitlines() if not x.startswith(" ")]
    assert names == [table["table"] for table in paper_tables()]
    assert listed.count("Needs ") == 22 and max(map(len, listed.splitlines())) <= 88


def test_an_unknown_table_is_said(capsys):
    assert main(["paper", "9"]) == 2
    error = capsys.readouterr().err.strip().removeprefix("cstlib: ")
    assert "no table '9'" in error and is_one_sentence(error)
